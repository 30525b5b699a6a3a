use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest NAME in bytes. With the longest scheme it leaves room for a directory in the 107 bytes of a socket address.
const MAX_NAME: usize = 64;

/// Where a listener is, the same in code, in configuration files and on the command line:
/// `scheme:NAME`, `scheme:/absolute/path`, `scheme:IP:PORT` or `scheme:`, each with options as `?key=value&key=value`.
///
/// NAME is `[A-Za-z0-9._-]{1,64}` and does not begin with a dot. Parsing and displaying round-trip.
///
/// ```
/// use ipc_core::{Address, Target};
/// let address: Address = "tcp:127.0.0.1:7777?sndbuf=1M".parse()?;
/// assert!(matches!(address.target(), Target::Inet(a) if a.port() == 7777));
/// assert_eq!(address.option("sndbuf"), Some("1M"));
/// # Ok::<(), ipc_core::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    scheme: String,
    target: Target,
    options: Vec<(String, String)>,
}

/// What stands between the scheme and the options of an [`Address`].
///
/// ```
/// use ipc_core::{Address, Target};
/// let address: Address = "shm:frames".parse()?;
/// assert_eq!(*address.target(), Target::Name("frames".into()));
/// # Ok::<(), ipc_core::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// Nothing: `pipe:`.
    Inherited,
    /// A name inside the user's own directory.
    Name(String),
    /// An absolute path.
    Path(PathBuf),
    /// An IP address and port.
    Inet(SocketAddr),
}

impl Address {
    /// An address without options.
    ///
    /// # Errors
    /// The scheme, name or path has characters an address cannot carry, or the path is not absolute.
    pub fn new(scheme: &str, target: Target) -> Result<Address, AddressError> {
        let address = Address { scheme: scheme.to_owned(), target, options: Vec::new() };
        let parsed: Address = address.to_string().parse()?;
        if parsed == address {
            Ok(address)
        } else {
            Err(AddressError::new(
                &address.to_string(),
                scheme.len() + 1,
                "cannot be written as an address".into(),
            ))
        }
    }

    /// The mechanism: `uds`, `tcp`, `shm`, …
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// What the scheme is applied to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Options in the order written.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of one option.
    pub fn option(&self, key: &str) -> Option<&str> {
        self.options().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The same address with one more option, or with a new value for it.
    ///
    /// # Errors
    /// The key or value has characters an address cannot carry.
    pub fn with_option(&self, key: &str, value: &str) -> Result<Address, AddressError> {
        let mut address = self.clone();
        address.options.retain(|(name, _)| name != key);
        address.options.push((key.to_owned(), value.to_owned()));
        address.to_string().parse()
    }

    /// The same address pointing elsewhere (a port the system chose).
    #[must_use]
    pub fn with_target(&self, target: Target) -> Address {
        Address { target, ..self.clone() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        match &self.target {
            Target::Inherited => {}
            Target::Name(name) => f.write_str(name)?,
            Target::Path(path) => write!(f, "{}", path.display())?,
            Target::Inet(address) => write!(f, "{address}")?,
        }
        for (index, (key, value)) in self.options.iter().enumerate() {
            write!(f, "{}{key}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |at: usize, what: String| Err(AddressError::new(text, at, what));
        let Some(colon) = text.find(':') else {
            return fail(text.len(), "expected `scheme:` first, as in uds:NAME or tcp:127.0.0.1:0".into());
        };
        let scheme = &text[..colon];
        let is_scheme_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if let Some(at) = scheme.bytes().position(|byte| !is_scheme_byte(byte)) {
            return fail(at, "a scheme has lower-case letters, digits and `-` only".into());
        }
        if scheme.is_empty() {
            return fail(0, "the scheme is missing, as in uds:NAME".into());
        }
        let start = colon + 1;
        let end = text[start..].find('?').map_or(text.len(), |at| start + at);
        let target = parse_target(&text[start..end])
            .map_err(|(at, what)| AddressError::new(text, start + at, what))?;

        let mut options: Vec<(String, String)> = Vec::new();
        if end < text.len() {
            let mut at = end + 1;
            for option in text[end + 1..].split('&') {
                let Some((key, value)) = option.split_once('=') else {
                    return fail(at, "an option is key=value".into());
                };
                let is_key_byte =
                    |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
                if key.is_empty() || !key.bytes().all(is_key_byte) {
                    return fail(at, "an option's key has lower-case letters, digits and `_` only".into());
                }
                if value.is_empty() || value.chars().any(|c| c.is_control() || c.is_whitespace()) {
                    return fail(
                        at + key.len() + 1,
                        "an option's value is not empty and has no white space".into(),
                    );
                }
                if options.iter().any(|(name, _)| name == key) {
                    return fail(at, format!("option {key} is given twice"));
                }
                options.push((key.to_owned(), value.to_owned()));
                at += option.len() + 1;
            }
        }
        Ok(Address { scheme: scheme.to_owned(), target, options })
    }
}

/// As its text, so that it reads the same in every format.
impl serde::Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Parses what stands between scheme and options; an error says where in `text`.
fn parse_target(text: &str) -> Result<Target, (usize, String)> {
    if text.is_empty() {
        return Ok(Target::Inherited);
    }
    if text.starts_with('/') {
        return match text.find(|c: char| c.is_control()) {
            Some(at) => Err((at, "a path has no control characters".into())),
            None => Ok(Target::Path(Path::new(text).to_owned())),
        };
    }
    if text.contains(':') {
        return text.parse().map(Target::Inet).map_err(|_| {
            (0, "expected IP:PORT, as in 127.0.0.1:7777 or [::1]:0 (names are not looked up)".into())
        });
    }
    let is_name_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if let Some(at) = text.find(|c| !is_name_char(c)) {
        return Err((at, "a name has letters, digits, `.`, `_` and `-` only; a path begins with `/`".into()));
    }
    if text.starts_with('.') {
        return Err((0, "a name does not begin with a dot".into()));
    }
    if text.len() > MAX_NAME {
        return Err((MAX_NAME, format!("a name has at most {MAX_NAME} bytes, this one {}", text.len())));
    }
    Ok(Target::Name(text.to_owned()))
}

/// An address that does not parse, with the place.
///
/// ```
/// use ipc_core::Address;
/// let error = "uds:two words".parse::<Address>().unwrap_err();
/// assert_eq!(error.offset(), 7);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    input: String,
    at: usize,
    what: String,
}

impl AddressError {
    fn new(input: &str, at: usize, what: String) -> Self {
        AddressError { input: input.to_owned(), at, what }
    }

    /// Byte offset of the fault in the input.
    pub fn offset(&self) -> usize {
        self.at
    }
}

/// Three lines: the fault, the input, a caret under the place.
impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = self.input[..self.at].chars().count();
        let shown: String = self.input.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
        write!(f, "bad address: {}\n  {shown}\n  {:column$}^", self.what, "")
    }
}

impl Error for AddressError {}

impl From<AddressError> for crate::SetupError {
    fn from(error: AddressError) -> Self {
        crate::SetupError::new(crate::SetupErrorKind::BadAddress, "parse", &error.input)
            .because(std::io::Error::new(std::io::ErrorKind::InvalidInput, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in [
            "uds:bench",
            "uds:/run/user/1000/b.sock",
            "uds-seqpacket:x",
            "tcp:127.0.0.1:0",
            "tcp:[::1]:7777?open=yes",
            "shm:camera?capacity=4M&wait=spin",
            "pipe:",
            "pipe:?max_message=1K",
            "mq:a.b_c-d?priority=3",
            "uds:/path with spaces/x",
        ] {
            let address: Address = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn errors_point_at_the_place() {
        let cases = [
            ("uds", 3),
            (":x", 0),
            ("Uds:x", 0),
            ("uds:a/b", 5),
            ("uds:.hidden", 4),
            ("tcp:localhost:80", 4),
            ("tcp:127.0.0.1:99999", 4),
            ("shm:x?capacity", 6),
            ("shm:x?a=1&=2", 10),
            ("shm:x?a=", 8),
            ("shm:x?a=1&a=2", 10),
            ("uds:ä", 4),
        ];
        for (text, at) in cases {
            let error = text.parse::<Address>().expect_err(text);
            assert_eq!(error.offset(), at, "{error}");
        }
        let long = format!("uds:{}", "a".repeat(65));
        assert_eq!(long.parse::<Address>().unwrap_err().offset(), 4 + 64);
    }

    #[test]
    fn the_caret_stands_under_the_fault() {
        let error = "uds:a/b".parse::<Address>().unwrap_err().to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines[1], "  uds:a/b");
        assert_eq!(lines[2].find('^'), Some(2 + 5));
    }

    #[test]
    fn only_what_parses_back_can_be_made() {
        assert!(Address::new("uds", Target::Name("ok".into())).is_ok());
        assert!(Address::new("uds", Target::Name("a b".into())).is_err());
        assert!(Address::new("uds", Target::Path("/a?b".into())).is_err());
        assert!(Address::new("uds", Target::Path("relative".into())).is_err());
        let address: Address = "shm:x?capacity=1M".parse().unwrap();
        assert_eq!(address.with_option("capacity", "2M").unwrap().to_string(), "shm:x?capacity=2M");
        assert!(address.with_option("capacity", "1 M").is_err());
    }
}
