//! Where named sockets live: `$XDG_RUNTIME_DIR/ipc` where that directory exists, else `<temp dir>/ipc-<uid>`; mode 0700 and owned by us, or refused.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use ipc_core::{Address, SetupError, SetupErrorKind, Target};

/// Longest path of a Unix socket in bytes: `sun_path` has 108, one of them the terminating zero.
pub(crate) const MAX_SOCKET_PATH: usize = 107;

/// The path of a named or path address.
///
/// # Errors
/// `BadAddress` for other targets, `NameTooLong`, or as [`private_directory`].
pub(crate) fn socket_path(address: &Address, op: &'static str) -> Result<PathBuf, SetupError> {
    let path = match address.target() {
        Target::Path(path) => path.clone(),
        Target::Name(name) => private_directory(op)?.join(format!("{}.{name}", address.scheme())),
        _ => {
            return Err(SetupError::new(SetupErrorKind::BadAddress, op, address).because(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("expected {0}:NAME or {0}:/absolute/path", address.scheme()),
            )));
        }
    };
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(SetupError::new(SetupErrorKind::NameTooLong, op, path.display()));
    }
    Ok(path)
}

/// The directory of this user's names, made if it is not there.
///
/// # Errors
/// `Denied` when it is a link, belongs to another user or can be entered by others; `Io` when it cannot be made.
pub(crate) fn private_directory(op: &'static str) -> Result<PathBuf, SetupError> {
    let uid = rustix::process::geteuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let path = match runtime.filter(|path| path.is_absolute() && path.is_dir()) {
        Some(runtime) => runtime.join("ipc"),
        None => std::env::temp_dir().join(format!("ipc-{uid}")),
    };
    checked(&path, uid).map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => SetupErrorKind::Denied,
            _ => SetupErrorKind::Io,
        };
        SetupError::new(kind, op, path.display()).because(error)
    })?;
    Ok(path)
}

fn checked(path: &Path, uid: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(path)?;
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if !found.is_dir() {
        return refuse("is not a directory".into());
    }
    if found.uid() != uid {
        return refuse(format!("belongs to uid {}, we are uid {uid}", found.uid()));
    }
    if found.mode() & 0o077 != 0 {
        return refuse(format!("has mode {:04o}; set it to 0700", found.mode() & 0o7777));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn scratch() -> PathBuf {
        let mut bytes = [0u8; 8];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
        std::env::temp_dir().join(format!("ipc-directory-test-{:016x}", u64::from_le_bytes(bytes)))
    }

    #[test]
    fn a_directory_others_can_enter_is_refused() {
        let path = scratch();
        let uid = rustix::process::geteuid().as_raw();
        checked(&path, uid).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        checked(&path, uid).unwrap();
        assert!(checked(&path, uid + 1).unwrap_err().to_string().contains("belongs to"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(checked(&path, uid).unwrap_err().to_string().contains("0755"));
        std::fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink(std::env::temp_dir(), &path).unwrap();
        assert!(checked(&path, uid).unwrap_err().to_string().contains("not a directory"));
        std::fs::remove_file(&path).unwrap();
    }
}
