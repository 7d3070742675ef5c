//! The audit trail: every line, in order, found by what it is about.

use vestibule::domain::channel::Channel;
use vestibule::domain::event::{Event, Message, What};
use vestibule::domain::spend::Guard;
use vestibule::store::About;

use crate::engine::{Fixture, Store, on_every_engine};
use crate::given::{NOW, after, name, reference, user};

on_every_engine!(
    a_line_reads_back_as_it_was_written,
    the_newest_lines_are_told_oldest_first,
    lines_are_found_by_what_they_are_about,
    lines_stay_when_their_user_goes,
    any_text_can_be_written_down,
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
