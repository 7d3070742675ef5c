//! Opening: by many at once, again and again, and never what a newer version wrote.

use std::sync::Arc;

use vestibule::store::{OpenError, StoreError};

use crate::engine::{Fixture, at_once, on_every_engine};
use crate::given::{NOW, new_user, signed_in, user};

on_every_engine!(
    many_gateways_open_a_new_store_at_once,
    what_was_written_is_there_when_it_is_opened_again,
    what_a_newer_version_wrote_is_not_opened,
);

async fn many_gateways_open_a_new_store_at_once(store: Fixture) {
    for round in 0..10 {
        let place = Arc::new(store.place.another());
        let gateways = at_once(4, |_| {
            let place = place.clone();
            async move { place.open().await }
        })
        .await;
        for (n, gateway) in gateways.into_iter().enumerate() {
            let gateway = gateway.unwrap_or_else(|error| panic!("gateway {n} of round {round}: {error}"));
            gateway.add_users(vec![new_user(&format!("user{n}"), n as u64)], NOW).await.unwrap().unwrap();
            assert_eq!(gateway.users().await.unwrap().len(), n + 1);
        }
    }
}

async fn what_was_written_is_there_when_it_is_opened_again(store: Fixture) {
    let alice = user(&store, "alice").await;
    let session = signed_in(&store, &alice, NOW).await;
    let again = store.place.open().await.unwrap();
    assert!(again.session(session.id).await.unwrap().is_some());
    assert_eq!(again.users().await.unwrap().len(), 1);
}

async fn what_a_newer_version_wrote_is_not_opened(store: Fixture) {
    store.place.make_newer();
    let error = store.place.open().await.expect_err("it is newer");
    assert!(
        matches!(error, OpenError::Store(StoreError::Newer { found: 99, known }) if known < 99),
        "{error}"
    );
    assert!(error.to_string().contains("newer version"), "{error}");
}
