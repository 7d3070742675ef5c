//! What is known of lines.

use vestibule::domain::line::{Line, LineKind};

use crate::engine::{Fixture, on_every_engine};
use crate::given::{NOW, after};

on_every_engine!(a_line_is_remembered_as_it_was_learned, what_is_learned_later_stands);

async fn a_line_is_remembered_as_it_was_learned(store: Fixture) {
    let kinds = [
        LineKind::Mobile,
        LineKind::Landline,
        LineKind::FixedVoip,
        LineKind::NonFixedVoip,
        LineKind::Special,
    ];
    let kinds = kinds.map(|kind| Some((Some(kind), NOW))).into_iter().chain([None, Some((None, NOW))]);
    let swapped = [None, Some((None, after(5))), Some((Some(true), after(5))), Some((Some(false), after(5)))];
    for (n, kind) in kinds.enumerate() {
        for (m, swapped) in swapped.into_iter().enumerate() {
            let (number, line) = (format!("{n}-{m}"), Line { kind, swapped });
            assert_eq!(store.line(number.clone()).await.unwrap(), Line::default());
            store.remember_line(number.clone(), line).await.unwrap();
            assert_eq!(store.line(number).await.unwrap(), line);
        }
    }
}

async fn what_is_learned_later_stands(store: Fixture) {
    let first = Line { kind: Some((Some(LineKind::Landline), NOW)), swapped: Some((Some(true), NOW)) };
    let second = Line { kind: Some((Some(LineKind::Mobile), after(60))), swapped: None };
    for line in [first, second] {
        store.remember_line("n".to_owned(), line).await.unwrap();
        assert_eq!(store.line("n".to_owned()).await.unwrap(), line);
    }
}
