//! Random bytes, keyed hashes, and sealing secrets for the store. All of it is aws-lc's.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hkdf, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Which text it is: the first 64 bits of its SHA-256, in hexadecimal digits. It hides nothing of a text that can be guessed.
pub fn short_digest(text: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text);
    hexadecimal(&digest.as_ref()[..8])
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// HMAC-SHA-256 (RFC 2104) under a secret of somebody else's, in hexadecimal digits.
pub fn hmac_hexadecimal(secret: &[u8], text: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text);
    hexadecimal(tag.as_ref())
}

/// Random bytes of the operating system's source.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// The key under which secrets rest in the store and strangers' input is hashed: a file beside the store,
/// readable by its owner only.
pub struct MasterKey {
    sealing: RandomizedNonceKey,
    hashing: hmac::Key,
    chain: ChainKey,
}

/// The key that seals the lines of the audit trail.
#[derive(Clone)]
pub struct ChainKey(Arc<hmac::Key>);

impl ChainKey {
    /// HMAC-SHA-256 (RFC 2104).
    pub fn seal(&self, bytes: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&self.0, bytes);
        tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }
}

impl fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainKey(…)")
    }
}

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// It cannot be read or made.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is gone, and the store it belongs to is not.
    #[error(
        "{path} is missing, but its store is there; restore it from a backup (if it is lost for good, SECURITY.md says what to do)",
        path = path.display()
    )]
    Lost {
        /// The file.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("{path} can be read by others; run: chmod 600 {path}", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It is no key.
    #[error("{path} holds no key of 32 bytes; restore it from a backup (without it all sessions end)", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

impl MasterKey {
    /// Derives each use from 32 bytes, so that none tells of another.
    pub fn new(bytes: &[u8; 32]) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"vestibule");
        let pseudo_random = salt.extract(bytes);
        let derive = |purpose: &[u8]| {
            let mut key = [0; 32];
            let info = [purpose];
            let output = pseudo_random.expand(&info, hkdf::HKDF_SHA256);
            output.and_then(|okm| okm.fill(&mut key)).expect("32 bytes is one block of HKDF-SHA256");
            key
        };
        Self {
            sealing: RandomizedNonceKey::new(&AES_256_GCM, &derive(b"seal"))
                .expect("32 bytes is a key of AES-256"),
            hashing: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"hash")),
            chain: ChainKey(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &derive(b"audit chain")))),
        }
    }

    /// Reads the key file of a state directory. With `new`, for a store that is made now, the file is made too when
    /// there is none; for an older store a new key would open nothing.
    pub fn open(directory: &Path, new: bool) -> Result<Self, MasterKeyError> {
        let path = directory.join("master.key");
        let failed = |source| MasterKeyError::File { path: path.clone(), source };
        if !path.exists() {
            if !new {
                return Err(MasterKeyError::Lost { path });
            }
            create(&path).map_err(failed)?;
        }
        let metadata = fs::metadata(&path).map_err(failed)?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(MasterKeyError::Exposed { path });
        }
        let text = fs::read_to_string(&path).map_err(failed)?;
        Self::from_text(&text).ok_or(MasterKeyError::Malformed { path })
    }

    /// Reads 32 bytes in base64.
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes: [u8; 32] = STANDARD.decode(text.trim()).ok()?.try_into().ok()?;
        Some(Self::new(&bytes))
    }

    /// The key of the audit trail's chain.
    pub fn chain(&self) -> ChainKey {
        self.chain.clone()
    }

    /// Encrypts for the store; `context` must be the same when opening.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        let nonce = self.sealing.seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut sealed);
        let nonce = nonce.expect("a short secret can be sealed");
        [nonce.as_ref().as_slice(), &sealed].concat()
    }

    /// Decrypts what [`MasterKey::seal`] made; `None` when it was changed, or made by another key.
    pub fn unseal(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let plain = self.sealing.open_in_place(nonce, Aad::from(context.as_bytes()), &mut body).ok()?;
        Some(plain.to_vec())
    }

    /// A hash that nobody without the key can compute, 22 characters.
    pub fn hash(&self, purpose: &str, text: &str) -> String {
        let mut context = hmac::Context::with_key(&self.hashing);
        context.update(purpose.as_bytes());
        context.update(&[0]);
        context.update(text.as_bytes());
        URL_SAFE_NO_PAD.encode(&context.sign().as_ref()[..16])
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// Written aside and linked into place, so that of two first starts one wins whole.
fn create(path: &Path) -> io::Result<()> {
    let aside = path.with_extension(format!("new-{}", u64::from_ne_bytes(random())));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    writeln!(file, "{}", STANDARD.encode(random::<32>()))?;
    file.sync_all()?;
    give_to_owner_of_directory(&aside);
    let linked = fs::hard_link(&aside, path);
    fs::remove_file(&aside)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// What root makes in the service's directory belongs to the service: a command run by an administrator before
/// the first start must not lock it out. Anybody else may not do this, and need not.
///
/// The directory is the service's, which may have put anything there by any name: only a file that has just this one name
/// is given away, never what a link leads to.
pub fn give_to_owner_of_directory(path: &Path) {
    let owner = path.parent().and_then(|directory| fs::metadata(directory).ok());
    if let (Some(owner), Ok(file)) = (owner, open_itself(path)) {
        let _ = std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()));
    }
}

/// Opens a regular file by the only name it has; a link of either kind is refused.
pub fn open_itself(path: &Path) -> io::Result<fs::File> {
    let file =
        fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.nlink() > 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file of its own"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_context_only() {
        let key = MasterKey::new(&[1; 32]);
        let sealed = key.seal("signing_key", b"secret");
        assert_eq!(key.unseal("signing_key", &sealed).as_deref(), Some(b"secret".as_slice()));
        assert_eq!(key.unseal("other", &sealed), None);
        assert_eq!(MasterKey::new(&[2; 32]).unseal("signing_key", &sealed), None);
        assert_eq!(key.unseal("signing_key", &sealed[..5]), None);
    }

    #[test]
    fn what_a_link_leads_to_is_never_opened_as_the_file_itself() {
        let directory = tempfile::tempdir().unwrap();
        let name = |name: &str| directory.path().join(name);
        fs::write(name("file"), "").unwrap();
        assert!(open_itself(&name("file")).is_ok());
        std::os::unix::fs::symlink(name("file"), name("symlink")).unwrap();
        assert!(open_itself(&name("symlink")).is_err());
        fs::hard_link(name("file"), name("another")).unwrap();
        assert!(open_itself(&name("another")).is_err());
        assert!(open_itself(directory.path()).is_err());
    }

    #[test]
    fn the_key_file_is_made_once_and_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let first = MasterKey::open(directory.path(), true).unwrap();
        let second = MasterKey::open(directory.path(), true).unwrap();
        assert_eq!(first.hash("number", "x"), second.hash("number", "x"));
        assert_ne!(first.hash("number", "x"), first.hash("name", "x"));
        let path = directory.path().join("master.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(MasterKey::open(directory.path(), true), Err(MasterKeyError::Exposed { .. })));
    }

    #[test]
    fn no_key_is_made_for_a_store_that_has_lost_its_own() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(MasterKey::open(directory.path(), false), Err(MasterKeyError::Lost { .. })));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_broken_key_file_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        fs::write(&path, "nonsense").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(MasterKey::open(directory.path(), true), Err(MasterKeyError::Malformed { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "nonsense");
    }
}
