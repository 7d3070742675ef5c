//! The audit trail: every line, in order, found by what it is about.

use vestibule::audit::verify::{Report, Wanted, verify};
use vestibule::crypto::MasterKey;
use vestibule::domain::chain::{Fault, Head};
use vestibule::domain::channel::Channel;
use vestibule::domain::event::{Event, Message, What};
use vestibule::domain::spend::Guard;
use vestibule::store::{About, Use};

use crate::engine::{Fixture, Store, chain, on_every_engine};
use crate::given::{NOW, after, name, reference, user};

on_every_engine!(
    a_line_reads_back_as_it_was_written,
    the_newest_lines_are_told_oldest_first,
    lines_are_found_by_what_they_are_about,
    lines_stay_when_their_user_goes,
    any_text_can_be_written_down,
    every_line_is_sealed_behind_the_one_before,
    lines_of_many_gateways_are_one_chain,
    what_was_done_behind_our_back_is_named,
    an_end_that_goes_is_missed_even_where_the_trail_went_on,
    an_earlier_head_must_be_part_of_it,
    what_is_old_goes_and_the_rest_still_fits,
    an_older_end_is_missed_by_whoever_wrote_the_newer_one,
    what_was_not_committed_is_not_missed,
    the_chain_cannot_be_begun_again,
    what_is_said_to_have_gone_for_its_age_is_missed,
    a_line_that_is_made_old_takes_nothing_along,
    a_trail_of_another_key_is_told_by_where_it_ends,
    the_rest_is_looked_at_whatever_is_before_it,
    lines_from_before_the_chain_are_told_apart,
    whoever_knows_of_no_seals_writes_nothing,
    without_the_key_nothing_is_written,
    whoever_takes_over_leaves_the_schema_as_it_is,
);

pub fn event(detail: &str) -> Event {
    Event {
        at: NOW,
        what: What::WrongCode,
        reference: None,
        user: None,
        client: "192.0.2.7".to_owned(),
        detail: detail.to_owned(),
        message: None,
    }
}

pub async fn details(store: &Store, about: About, most: usize) -> Vec<String> {
    store.audit(about, most).await.unwrap().into_iter().map(|line| line.detail).collect()
}

async fn a_line_reads_back_as_it_was_written(store: Fixture) {
    store.append_audit(Vec::new()).await.unwrap();
    assert!(store.audit(About::default(), 10).await.unwrap().is_empty());
    let told = reference();
    let message = Message {
        provider: "twilio".to_owned(),
        channel: Channel::Call,
        handle: Some("VE1".to_owned()),
        recipient: "••• ••00".to_owned(),
        outcome: "sent",
    };
    let whole = Event {
        at: after(5),
        what: What::GuardTripped(Guard::Prefix),
        reference: Some(told),
        user: Some("alice".to_owned()),
        message: Some(message.clone()),
        ..event("more")
    };
    let nameless = Event { message: Some(Message { handle: None, ..message }), ..event("") };
    store
        .append_audit(vec![whole, nameless, Event { client: String::new(), ..event("bare") }])
        .await
        .unwrap();
    let lines = store.audit(About::default(), 10).await.unwrap();
    let line = &lines[0];
    assert_eq!((line.at, line.what.as_str(), line.client.as_str()), (after(5), "guard_tripped", "192.0.2.7"));
    assert_eq!((line.reference.clone(), line.user.as_deref()), (Some(told.to_string()), Some("alice")));
    let message = line.message.as_ref().unwrap();
    assert_eq!((message.provider.as_str(), message.channel.as_deref()), ("twilio", Some("call")));
    assert_eq!((message.handle.as_deref(), message.recipient.as_deref()), (Some("VE1"), Some("••• ••00")));
    assert_eq!(message.outcome.as_deref(), Some("sent"));
    assert_eq!(lines[1].message.as_ref().unwrap().handle, None);
    let bare = &lines[2];
    assert!(
        bare.reference.is_none() && bare.user.is_none() && bare.message.is_none() && bare.client.is_empty()
    );
    assert!(lines[0].number >= 1 && lines.is_sorted_by(|one, next| one.number < next.number));
}

async fn the_newest_lines_are_told_oldest_first(store: Fixture) {
    for n in 0..5 {
        store.append_audit(vec![event(&format!("{n}a")), event(&format!("{n}b"))]).await.unwrap();
    }
    assert_eq!(details(&store, About::default(), 3).await, ["3b", "4a", "4b"]);
    assert_eq!(details(&store, About::default(), 100).await.len(), 10);
    assert!(details(&store, About::default(), 0).await.is_empty());
}

async fn lines_are_found_by_what_they_are_about(store: Fixture) {
    let (one, other) = (reference(), reference());
    let about = |reference, user: Option<&str>, detail| Event {
        reference,
        user: user.map(str::to_owned),
        ..event(detail)
    };
    let lines = vec![
        about(Some(one), Some("alice"), "1"),
        about(Some(one), Some("bob"), "2"),
        about(Some(other), Some("alice"), "3"),
        about(None, Some("alice"), "4"),
        about(Some(one), None, "5"),
        about(None, None, "6"),
    ];
    store.append_audit(lines).await.unwrap();
    let of = async |reference, user: Option<&str>, most| {
        details(&store, About { reference, user: user.map(name) }, most).await.concat()
    };
    assert_eq!(of(Some(one), None, 9).await, "125");
    assert_eq!(of(None, Some("alice"), 9).await, "134");
    assert_eq!(of(Some(one), Some("alice"), 9).await, "1");
    assert_eq!(of(None, Some("alice"), 2).await, "34");
    assert_eq!(of(Some(reference()), None, 9).await, "");
    assert_eq!(of(None, Some("ali"), 9).await, "");
}

async fn lines_stay_when_their_user_goes(store: Fixture) {
    user(&store, "alice").await;
    store.append_audit(vec![Event { user: Some("alice".to_owned()), ..event("it was she") }]).await.unwrap();
    let remove = vestibule::store::UserChange::Remove;
    store.change_user(name("alice"), remove, NOW).await.unwrap().unwrap();
    let about = About { user: Some(name("alice")), ..About::default() };
    assert_eq!(details(&store, about, 9).await, ["it was she"]);
}

/// A provider's answer may hold whatever JSON can say.
async fn any_text_can_be_written_down(store: Fixture) {
    let long = "x".repeat(100_000);
    let texts = ["it's \"one\"; -- \\ %_*?$1", "\u{7f}\u{1}\r\n\t", "Übergröße 🦀 \u{202e}", "", &long];
    store.append_audit(texts.map(event).to_vec()).await.unwrap();
    assert_eq!(details(&store, About::default(), 9).await, texts);
    let message = Message {
        provider: "vonage".to_owned(),
        channel: Channel::Sms,
        handle: Some("a\0b".to_owned()),
        recipient: String::new(),
        outcome: "sent",
    };
    let odd = Event { message: Some(message), ..event("before\0after") };
    store.append_audit(vec![event("first"), odd, event("last")]).await.unwrap();
    // A NUL may stand as something else where the database knows none; the line must not be lost for it.
    let lines = details(&store, About::default(), 3).await;
    assert_eq!((lines[0].as_str(), lines[2].as_str()), ("first", "last"));
    assert!(lines[1].starts_with("before") && lines[1].ends_with("after"), "{:?}", lines[1]);
}

async fn look(store: &Store, wanted: Wanted) -> Result<Report, Fault> {
    verify(store, &chain(), wanted, &mut |_, _| ()).await.unwrap()
}

async fn look_at_all(store: &Store) -> Result<Report, Fault> {
    look(store, Wanted::default()).await
}

async fn write(store: &Store, count: usize) {
    store.append_audit((0..count).map(|n| event(&n.to_string())).collect()).await.unwrap();
}

async fn every_line_is_sealed_behind_the_one_before(store: Fixture) {
    let none = look_at_all(&store).await.unwrap();
    assert_eq!((none.chained, none.since), (0, None));
    write(&store, 1).await;
    // More than are read at once, and more than one statement writes.
    write(&store, 2_100).await;
    let report = look_at_all(&store).await.unwrap();
    assert_eq!((report.chained, report.unchained, report.since, report.purged), (2_101, 0, Some(NOW), None));
    assert_eq!(report.head.0, 2_101);
}

async fn lines_of_many_gateways_are_one_chain(store: Fixture) {
    store
        .race(16, |_, gateway| async move {
            for n in 0..20 {
                write(&gateway, 1 + n % 3).await;
            }
        })
        .await;
    let report = look_at_all(&store).await.unwrap();
    assert_eq!((report.chained, report.head.0), (16 * 39, 16 * 39));
}

async fn what_was_done_behind_our_back_is_named(store: Fixture) {
    write(&store, 9).await;
    let swap = |one: i64, other: i64| {
        format!(
            "UPDATE audit SET number = -1 WHERE number = {one}; UPDATE audit SET number = {one} WHERE number = {other}; \
             UPDATE audit SET number = {other} WHERE number = -1;"
        )
    };
    let none = store.place.bytes("");
    let keep = "CREATE TABLE kept AS SELECT * FROM audit;";
    store.place.sql(keep);
    for (change, fault) in [
        ("UPDATE audit SET detail = 'x' WHERE number = 4".to_owned(), Fault::Changed(4)),
        ("UPDATE audit SET client = '' WHERE number = 4".to_owned(), Fault::Changed(4)),
        ("UPDATE audit SET at = at + 1 WHERE number = 9".to_owned(), Fault::Changed(9)),
        ("UPDATE audit SET handle = 'x' WHERE number = 1".to_owned(), Fault::Changed(1)),
        (format!("UPDATE audit SET hash = {none} WHERE number = 5"), Fault::Unsealed(5)),
        ("DELETE FROM audit WHERE number = 1".to_owned(), Fault::Missing(1, 1)),
        ("DELETE FROM audit WHERE number IN (4, 5)".to_owned(), Fault::Missing(4, 5)),
        ("DELETE FROM audit WHERE number > 7".to_owned(), Fault::EndMissing(8, 9)),
        ("DELETE FROM audit".to_owned(), Fault::EndMissing(1, 9)),
        // Closing the gap with what comes behind it does not help.
        (
            "DELETE FROM audit WHERE number = 4; UPDATE audit SET number = 4 WHERE number = 9".to_owned(),
            Fault::OutOfOrder { number: 4, was: 9 },
        ),
        (swap(3, 7), Fault::OutOfOrder { number: 3, was: 7 }),
        (swap(3, 4), Fault::OutOfOrder { number: 3, was: 4 }),
        ("UPDATE audit_chain SET number = 8".to_owned(), Fault::Head),
        (
            "DELETE FROM audit WHERE number = 9; \
             UPDATE audit_chain SET number = 8, hash = (SELECT hash FROM audit WHERE number = 8)"
                .to_owned(),
            Fault::Head,
        ),
    ] {
        store.place.sql("DROP TABLE IF EXISTS head; CREATE TABLE head AS SELECT * FROM audit_chain");
        store.place.sql(&change);
        assert_eq!(look_at_all(&store).await.unwrap_err(), fault, "{change}");
        store.place.sql(
            "DELETE FROM audit; INSERT INTO audit SELECT * FROM kept; \
             DELETE FROM audit_chain; INSERT INTO audit_chain SELECT * FROM head",
        );
        assert_eq!(look_at_all(&store).await.unwrap().chained, 9);
    }
}

/// Whoever takes the end away cannot have the gateway seal that.
async fn an_end_that_goes_is_missed_even_where_the_trail_went_on(store: Fixture) {
    write(&store, 9).await;
    store.place.sql(
        "DELETE FROM audit WHERE number > 7; \
         UPDATE audit_chain SET number = 7, hash = (SELECT hash FROM audit WHERE number = 7)",
    );
    // A gateway that did not write them goes on, and tells of it by that.
    let other = store.place.open().await.unwrap();
    write(&other, 3).await;
    assert_eq!(look_at_all(&store).await.unwrap_err(), Fault::Anew(8));
    // Known and noted, the rest can be looked at.
    let rest = look(&store, Wanted { from: Some(8), expected: None }).await.unwrap();
    assert_eq!((rest.chained, rest.head.0), (3, 10));
    // A line that somebody else put behind the end is in the way of nothing.
    let none = store.place.bytes("");
    store.place.sql(&format!(
        "INSERT INTO audit (number, at, what, client, detail, hash) VALUES (11, 5, 'x', '', '', {none})"
    ));
    write(&store, 1).await;
    let found = look(&store, Wanted { from: Some(9), expected: None }).await.unwrap_err();
    assert_eq!(found, Fault::Unsealed(11));
}

async fn an_earlier_head_must_be_part_of_it(store: Fixture) {
    write(&store, 5).await;
    let head = look_at_all(&store).await.unwrap().head;
    write(&store, 5).await;
    let expect = async |expected| look(&store, Wanted { from: None, expected: Some(expected) }).await;
    assert_eq!(expect(head).await.unwrap().chained, 10);
    assert_eq!(expect((head.0, [7; 32])).await.unwrap_err(), Fault::Unexpected(5));
    assert_eq!(expect((head.0 - 1, head.1)).await.unwrap_err(), Fault::Unexpected(4));
    assert_eq!(expect((12, head.1)).await.unwrap_err(), Fault::EndMissing(11, 12));
}

async fn what_is_old_goes_and_the_rest_still_fits(store: Fixture) {
    let at = |n: u64| Event { at: after(n), ..event(&n.to_string()) };
    store.append_audit((0..1_500).map(at).collect()).await.unwrap();
    let head = look_at_all(&store).await.unwrap().head;
    while store.purge_audit(after(1_200), after(1_500)).await.unwrap() > 0 {}
    let report = look_at_all(&store).await.unwrap();
    assert_eq!((report.purged, report.chained), (Some(1_200), 302));
    assert_eq!(look(&store, Wanted { from: None, expected: Some(head) }).await.unwrap().chained, 302);
    let gone = Wanted { from: None, expected: Some((700, [0; 32])) };
    assert_eq!(look(&store, gone).await.unwrap_err(), Fault::Gone(700));
    // A purge by anybody else is none.
    store.place.sql("DELETE FROM audit WHERE number <= 1300");
    assert_eq!(look_at_all(&store).await.unwrap_err(), Fault::Missing(1_201, 1_300));
}

/// An older head of ours, which is sealed as it should be, in the place of the newest.
async fn an_older_end_is_missed_by_whoever_wrote_the_newer_one(store: Fixture) {
    write(&store, 5).await;
    store.place.sql("CREATE TABLE head AS SELECT * FROM audit_chain");
    write(&store, 1).await;
    let put_back = "DELETE FROM audit WHERE number > 5; DELETE FROM audit_chain; INSERT INTO audit_chain SELECT * FROM head";
    store.place.sql(put_back);
    // Nobody can tell by the store alone ...
    assert_eq!(look_at_all(&store).await.unwrap().chained, 5);
    // ... but whoever wrote what is missing.
    write(&store, 1).await;
    assert_eq!(look_at_all(&store).await.unwrap_err(), Fault::Missing(6, 6));
    assert_eq!(store.last_line().unwrap().0, 7);
}

/// A transaction that came to nothing is no end that could be missed.
async fn what_was_not_committed_is_not_missed(store: Fixture) {
    write(&store, 3).await;
    let break_it = "ALTER TABLE audit_chain RENAME TO away";
    store.place.sql(break_it);
    assert!(store.append_audit(vec![event("lost")]).await.is_err());
    store.place.sql("ALTER TABLE away RENAME TO audit_chain");
    write(&store, 1).await;
    assert_eq!(look_at_all(&store).await.unwrap().chained, 4);
}

/// Whoever cannot seal a line makes the gateway take the whole trail for one from before the chain, or for gone.
async fn the_chain_cannot_be_begun_again(store: Fixture) {
    write(&store, 9).await;
    let zero = "(SELECT purged_hash FROM audit_chain)";
    let none = store.place.bytes("");
    store.place.sql(&format!(
        "UPDATE audit SET hash = {none}, detail = 'x'; \
         UPDATE audit_chain SET number = 9, begun = 9, purged = 9, hash = {zero}, seal = {none}"
    ));
    let fresh = store.place.open().await.unwrap();
    assert_eq!(look_at_all(&fresh).await.unwrap_err(), Fault::Head);
    assert_eq!(fresh.purge_audit(after(1_000_000), after(1_000_000)).await.unwrap(), 0);
    write(&fresh, 1).await;
    assert_eq!(look_at_all(&fresh).await.unwrap_err(), Fault::Anew(10));
}

async fn what_is_said_to_have_gone_for_its_age_is_missed(store: Fixture) {
    write(&store, 9).await;
    let ones = "(SELECT hash FROM ones)";
    store.place.sql("CREATE TABLE ones AS SELECT hash FROM audit WHERE number = 1");
    let none = store.place.bytes("");
    for purged_hash in [ones, "(SELECT hash FROM audit_chain)"] {
        let fresh = store.place.open().await.unwrap();
        store.place.sql(&format!(
            "UPDATE audit_chain SET purged = (SELECT max(number) FROM audit), purged_hash = {purged_hash}, seal = {none}; \
             DELETE FROM audit"
        ));
        write(&fresh, 1).await;
        let found = look_at_all(&fresh).await.unwrap_err();
        assert!(matches!(found, Fault::Anew(_)), "{found}");
    }
}

/// A line's own word for its age is not taken where its seal does not fit.
async fn a_line_that_is_made_old_takes_nothing_along(store: Fixture) {
    let at = |n: u64| Event { at: after(n), ..event(&n.to_string()) };
    store.append_audit((0..40).map(at).collect()).await.unwrap();
    store.place.sql("UPDATE audit SET at = 0 WHERE number = 30");
    assert_eq!(store.purge_audit(after(10), after(40)).await.unwrap(), 10);
    assert_eq!(look_at_all(&store).await.unwrap_err(), Fault::Changed(30));
    // Once what is behind it is old, it goes, and that is said.
    assert_eq!(store.purge_audit(after(35), after(40)).await.unwrap(), 25);
    assert_eq!(look_at_all(&store).await.unwrap().purged, Some(35));
    let told = details(&store, About::default(), 1).await;
    assert_eq!(told, ["lines 11 to 35, which were not all as they had been written"]);
}

async fn a_trail_of_another_key_is_told_by_where_it_ends(store: Fixture) {
    write(&store, 5).await;
    let other = MasterKey::new(&[8; 32]).chain();
    let theirs = store.place.open_for(Use::Beside, Some(other.clone())).await.unwrap();
    write(&theirs, 3).await;
    let found = verify(&theirs, &other, Wanted::default(), &mut |_, _| ()).await.unwrap();
    assert_eq!(found.unwrap_err(), Fault::Anew(6));
    let from = Wanted { from: Some(6), expected: None };
    assert_eq!(verify(&theirs, &other, from, &mut |_, _| ()).await.unwrap().unwrap().chained, 3);
}

async fn the_rest_is_looked_at_whatever_is_before_it(store: Fixture) {
    write(&store, 9).await;
    store.place.sql("DELETE FROM audit WHERE number IN (4, 5)");
    let from = async |from| look(&store, Wanted { from: Some(from), expected: None }).await;
    assert_eq!(from(6).await.unwrap().chained, 4);
    assert_eq!(from(10).await.unwrap().chained, 0);
    assert_eq!(from(11).await.unwrap_err(), Fault::Beyond(11, 9));
}

async fn lines_from_before_the_chain_are_told_apart(store: Fixture) {
    let head = Head::behind(2);
    let seal: String = chain().seal(&head.bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    store.place.sql(&format!(
        "INSERT INTO audit (number, at, what, client, detail, hash) VALUES (1, 5, 'x', '', '', {0}), (2, 5, 'x', '', '', {0}); \
         UPDATE audit_chain SET number = 2, begun = 2, purged = 2, seal = {1}",
        store.place.bytes(""),
        store.place.bytes(&seal)
    ));
    write(&store, 3).await;
    let report = look_at_all(&store).await.unwrap();
    assert_eq!((report.unchained, report.chained, report.head.0), (2, 3, 5));
    store.purge_audit(after(1) - std::time::Duration::from_secs(2), after(9)).await.unwrap();
    let report = look_at_all(&store).await.unwrap();
    assert_eq!((report.unchained, report.chained, report.purged), (0, 4, None));
}

/// A gateway of an older version knows of no seal: it writes nothing that would be taken for a gap later.
async fn whoever_knows_of_no_seals_writes_nothing(store: Fixture) {
    write(&store, 1).await;
    let old = "INSERT INTO audit (number, at, what, client, detail) VALUES (2, 5, 'x', '', '')";
    assert!(store.place.is_refused(old));
    assert_eq!(look_at_all(&store).await.unwrap().chained, 1);
}

async fn without_the_key_nothing_is_written(store: Fixture) {
    let keyless = store.place.open_without_key().await.unwrap();
    assert!(keyless.append_audit(vec![event("x")]).await.is_err());
    assert!(store.audit(About::default(), 9).await.unwrap().is_empty());
}

/// The process before it may have to go on.
async fn whoever_takes_over_leaves_the_schema_as_it_is(store: Fixture) {
    let new = store.place.another();
    for (use_, key) in [(Use::TakeOver, Some(chain())), (Use::Beside, None)] {
        let error = new.open_for(use_, key).await.expect_err("nothing is there yet");
        assert!(error.to_string().contains("systemctl restart"), "{error}");
    }
    assert!(store.place.open_for(Use::TakeOver, Some(chain())).await.is_ok());
}
