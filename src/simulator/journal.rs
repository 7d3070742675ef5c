//! What happened: the codes that were sent and the requests that were made, newest last, bounded.

use std::collections::VecDeque;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::SentCode;
use super::call::Call;
use super::wire::timestamp;

/// The side channel's memory.
#[derive(Debug, Default)]
pub(super) struct Journal {
    messages: VecDeque<SentCode>,
    requests: VecDeque<Value>,
}

impl Journal {
    pub(super) fn sent(&mut self, sent: SentCode) {
        push(&mut self.messages, sent, MESSAGES);
    }

    /// Notes a request; no status means that it got no answer.
    pub(super) fn requested(&mut self, call: &Call, status: Option<u16>, at: SystemTime) {
        let (kind, fields) = call.shown();
        let entry = json!({
            "method": call.method.as_str(),
            "path": call.path,
            kind: fields,
            "status": status,
            "at": timestamp(at),
        });
        push(&mut self.requests, entry, REQUESTS);
    }

    pub(super) fn messages(&self) -> Value {
        self.messages.iter().map(message).collect()
    }

    pub(super) fn requests(&self) -> Value {
        self.requests.iter().cloned().collect()
    }
}

fn message(sent: &SentCode) -> Value {
    json!({
        "to": sent.to,
        "channel": sent.channel,
        "code": sent.code,
        "sent_at": timestamp(sent.sent_at),
    })
}

fn push<T>(entries: &mut VecDeque<T>, entry: T, limit: usize) {
    if entries.len() == limit {
        entries.pop_front();
    }
    entries.push_back(entry);
}

const MESSAGES: usize = 1000;
const REQUESTS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_are_kept() {
        let mut entries = VecDeque::new();
        (0..5).for_each(|entry| push(&mut entries, entry, 3));
        assert_eq!(entries, [2, 3, 4]);
    }
}
