use std::fmt;
use std::str::FromStr;

use crate::{Address, SetupError, SetupErrorKind};

/// Options of a mechanism: a struct with public `Option` fields, where `None` means "from the address, else the
/// default".
///
/// ```
/// use ipc_core::{OptionError, Options};
/// #[derive(Clone, Default)]
/// struct MyOptions {
///     depth: Option<u32>,
/// }
/// impl Options for MyOptions {
///     fn fill(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
///         match key {
///             "depth" => OptionError::fill(&mut self.depth, key, value),
///             _ => Err(OptionError::unknown(key, &["depth"])),
///         }
///     }
/// }
/// let options = MyOptions::default().resolved(&"mine:here?depth=3".parse()?)?;
/// assert_eq!(options.depth, Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Options: Default + Clone {
    /// Fills one field from an address's query. A field that is already set keeps its value, but `value` must parse.
    ///
    /// # Errors
    /// Unknown key (with the keys there are) or a value that does not parse.
    fn fill(&mut self, key: &str, value: &str) -> Result<(), OptionError>;

    /// These options, completed from the query of `address`.
    ///
    /// # Errors
    /// `BadAddress` naming the key.
    fn resolved(&self, address: &Address) -> Result<Self, SetupError> {
        let mut options = self.clone();
        for (key, value) in address.options() {
            options.fill(key, value).map_err(|error| {
                SetupError::new(SetupErrorKind::BadAddress, "options of", address)
                    .because(std::io::Error::new(std::io::ErrorKind::InvalidInput, error))
            })?;
        }
        Ok(options)
    }
}

/// An option that does not exist or whose value does not parse.
///
/// ```
/// use ipc_core::OptionError;
/// let mut capacity = None;
/// OptionError::fill_bytes(&mut capacity, "capacity", "64K")?;
/// assert_eq!(capacity, Some(65536));
/// assert!(OptionError::fill_bytes(&mut capacity, "capacity", "much").is_err());
/// # Ok::<(), OptionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionError(String);

impl OptionError {
    /// The key is not one of `known`.
    pub fn unknown(key: &str, known: &[&str]) -> Self {
        OptionError(format!("unknown option {key:?}; this transport has: {}", known.join(", ")))
    }

    /// The value of `key` is wrong: say what is allowed.
    pub fn bad(key: &str, value: &str, allowed: impl fmt::Display) -> Self {
        OptionError(format!("{key}={value}: {allowed}"))
    }

    /// Parses `value` into `field` unless the field is already set.
    ///
    /// # Errors
    /// The value does not parse.
    pub fn fill<T: FromStr>(field: &mut Option<T>, key: &str, value: &str) -> Result<(), OptionError>
    where
        T::Err: fmt::Display,
    {
        let parsed = value.parse().map_err(|error| OptionError::bad(key, value, error))?;
        field.get_or_insert(parsed);
        Ok(())
    }

    /// Parses a size in bytes into `field` unless the field is already set.
    ///
    /// # Errors
    /// The value is not a size.
    pub fn fill_bytes(field: &mut Option<usize>, key: &str, value: &str) -> Result<(), OptionError> {
        let parsed = parse_bytes(value).map_err(|error| OptionError::bad(key, value, error))?;
        field.get_or_insert(parsed);
        Ok(())
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OptionError {}

/// Parses a size in bytes: a whole number, optionally with K, M or G (powers of 1024).
///
/// # Errors
/// A sentence saying what was expected.
///
/// ```
/// assert_eq!(ipc_core::parse_bytes("64K"), Ok(65536));
/// assert!(ipc_core::parse_bytes("64Q").is_err());
/// ```
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{text:?} is not a size; use bytes as 4096, 64K, 1M or 1G"));
    }
    digits
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("{text:?} is more bytes than this machine can address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_binary_units() {
        assert_eq!(parse_bytes("0"), Ok(0));
        assert_eq!(parse_bytes("1k"), Ok(1024));
        assert_eq!(parse_bytes("3M"), Ok(3 << 20));
        assert_eq!(parse_bytes("1G"), Ok(1 << 30));
        for bad in ["", "K", "-1", "+1", "1.5K", "1KB", "64 K", "99999999999999999999", "99999999999G"] {
            assert!(parse_bytes(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_field_that_is_set_keeps_its_value() {
        let mut field = Some(1usize);
        OptionError::fill_bytes(&mut field, "capacity", "2K").unwrap();
        assert_eq!(field, Some(1));
        let mut field = None;
        OptionError::fill_bytes(&mut field, "capacity", "2K").unwrap();
        assert_eq!(field, Some(2048));
        assert!(
            OptionError::fill_bytes(&mut field, "capacity", "x")
                .unwrap_err()
                .to_string()
                .contains("capacity=x")
        );
    }
}
