//! Signing keys: the newest signs, the others are kept as long as what they signed.

use vestibule::store::{Change, StoredKey};

use crate::engine::{Fixture, Store, on_every_engine};
use crate::given::{DAY, HOUR, NOW, after};

on_every_engine!(
    a_key_reads_back_as_it_was_sealed,
    a_newer_key_takes_over,
    a_first_key_is_first_only,
    keys_of_one_second_have_an_order,
    a_retired_key_goes_when_all_it_signed_is_over,
);

pub fn key(kid: &str, at: u64) -> StoredKey {
    StoredKey { kid: kid.to_owned(), sealed: vec![0, 255, 1, b'\''], created_at: after(at), retired_at: None }
}

pub async fn kids(store: &Store) -> Vec<String> {
    store.signing_keys().await.unwrap().into_iter().map(|key| key.kid).collect()
}

async fn a_key_reads_back_as_it_was_sealed(store: Fixture) {
    assert!(store.signing_keys().await.unwrap().is_empty());
    let sealed: Vec<u8> = (0..=255).collect();
    store.add_signing_key(StoredKey { sealed: sealed.clone(), ..key("k1", 0) }, true).await.unwrap();
    let keys = store.signing_keys().await.unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!((keys[0].kid.as_str(), &keys[0].sealed), ("k1", &sealed));
    assert_eq!((keys[0].created_at, keys[0].retired_at), (NOW, None));
}

async fn a_newer_key_takes_over(store: Fixture) {
    for (kid, at) in [("b", 0), ("c", 60), ("a", 120)] {
        store.add_signing_key(key(kid, at), false).await.unwrap();
    }
    let keys = store.signing_keys().await.unwrap();
    let retired: Vec<_> = keys.iter().map(|key| (key.kid.as_str(), key.retired_at)).collect();
    assert_eq!(retired, [("b", Some(after(60))), ("c", Some(after(120))), ("a", None)]);
    let changes = store.changes_after(0).await.unwrap().1;
    assert_eq!(changes, [Change::KeysChanged, Change::KeysChanged, Change::KeysChanged]);
}

async fn a_first_key_is_first_only(store: Fixture) {
    store.add_signing_key(key("k1", 0), true).await.unwrap();
    let known = store.last_change().await.unwrap();
    store.add_signing_key(key("k2", 60), true).await.unwrap();
    assert_eq!(kids(&store).await, ["k1"]);
    assert_eq!(store.signing_keys().await.unwrap()[0].retired_at, None);
    assert_eq!(store.last_change().await.unwrap(), known);
    store.add_signing_key(key("k2", 60), false).await.unwrap();
    assert_eq!(kids(&store).await, ["k1", "k2"]);
}

async fn keys_of_one_second_have_an_order(store: Fixture) {
    for kid in ["k3", "k2", "k_1", "k1"] {
        store.add_signing_key(key(kid, 0), false).await.unwrap();
    }
    // The one that signs is the last.
    assert_eq!(kids(&store).await, ["k2", "k3", "k_1", "k1"]);
}

async fn a_retired_key_goes_when_all_it_signed_is_over(store: Fixture) {
    store.add_signing_key(key("k1", 0), false).await.unwrap();
    store.add_signing_key(key("k2", 60), false).await.unwrap();
    store.purge(after(60) + 12 * HOUR, 12 * HOUR).await.unwrap();
    assert_eq!(kids(&store).await, ["k1", "k2"]);
    store.purge(after(61) + 12 * HOUR, 12 * HOUR).await.unwrap();
    assert_eq!(kids(&store).await, ["k2"]);
    store.purge(NOW + 1_000 * DAY, 12 * HOUR).await.unwrap();
    assert_eq!(kids(&store).await, ["k2"], "the one that signs stays");
}
