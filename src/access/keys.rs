//! The keyring in use, and the store it is read from.

use std::sync::{Arc, RwLock};

use crate::clock::Clock;
use crate::crypto::{self, MasterKey};
use crate::domain::time::Timestamp;
use crate::domain::token::{Keyring, SigningKey};
use crate::store::{Store, StoreError, StoredKey};

/// The keys that sign and open session tokens.
#[derive(Debug)]
pub struct Keys {
    store: Store,
    master: Arc<MasterKey>,
    keyring: RwLock<Arc<Keyring>>,
}

/// Why there is no keyring.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key was sealed by another master key.
    #[error(
        "the signing keys in the store do not open with this master key; put the one that belongs to it in its place"
    )]
    Sealed,
}

const CONTEXT: &str = "signing_key";

impl Keys {
    /// Reads the keys, making the first when there is none.
    pub async fn open(store: Store, master: Arc<MasterKey>, clock: &dyn Clock) -> Result<Self, KeysError> {
        store.add_signing_key(fresh(&master, clock.now()), true).await?;
        let keyring = RwLock::new(Arc::new(read(&store, &master).await?));
        Ok(Self { store, master, keyring })
    }

    /// The keyring as it is now.
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keyring.read().expect("nobody panics while holding it").clone()
    }

    /// Reads the keys again; what cannot be read leaves the keyring as it was.
    pub async fn reload(&self) -> Result<(), KeysError> {
        let keyring = Arc::new(read(&self.store, &self.master).await?);
        *self.keyring.write().expect("nobody panics while holding it") = keyring;
        Ok(())
    }
}

/// Whether this master key opens all of them.
pub fn opens(master: &MasterKey, keys: &[StoredKey]) -> bool {
    keys.iter().all(|key| master.unseal(CONTEXT, &key.sealed).is_some())
}

/// Adds a key that signs from now on; tokens of older ones stay good. Its name.
pub async fn rotate(store: &Store, master: &MasterKey, now: Timestamp) -> Result<String, KeysError> {
    // Under another master key it would be one that no gateway opens, and none would start again.
    if !opens(master, &store.signing_keys().await?) {
        return Err(KeysError::Sealed);
    }
    let key = fresh(master, now);
    let kid = key.kid.clone();
    store.add_signing_key(key, false).await?;
    Ok(kid)
}

/// A new key, sealed for the store.
pub fn fresh(master: &MasterKey, now: Timestamp) -> StoredKey {
    let kid: String = crypto::random::<4>().iter().map(|byte| format!("{byte:02x}")).collect();
    let sealed = master.seal(CONTEXT, &crypto::random::<32>());
    StoredKey { kid, sealed, created_at: now, retired_at: None }
}

async fn read(store: &Store, master: &MasterKey) -> Result<Keyring, KeysError> {
    let open = |key: StoredKey| {
        let secret: [u8; 32] = master.unseal(CONTEXT, &key.sealed)?.try_into().ok()?;
        Some(SigningKey::new(key.kid, &secret, key.created_at, key.retired_at.is_some()))
    };
    let keys: Option<Vec<_>> = store.signing_keys().await?.into_iter().map(open).collect();
    keys.and_then(Keyring::new).ok_or(KeysError::Sealed)
}
