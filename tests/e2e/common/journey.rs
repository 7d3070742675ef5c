//! A journey through one provider: what kind it is, and what a page says.

use std::fmt::Write as _;

use super::more::number;
use super::{ALICE, BOB, Browser, Gateway, House, Scene, Simulator, Upstream, config};

/// Limits out of the way of what is tried.
pub const GENEROUS: &str = "[limits]\nstarts_per_number = \"1000/1h\"\nstarts_per_user = \"1000/1h\"\n\
                            starts_per_address = \"10000/1m\"\nchecks_per_address = \"10000/1m\"\n";

/// Budgets out of the way of many people with many messages.
const RICH: &str = "[spend]\nmessages_per_day = 100000\nmessages_per_month = 100000\n\
                    messages_per_user_and_day = 1000\nmessages_per_user_and_month = 1000\n\
                    conversion_least_sent = 100000\n";

/// A kind of provider, and its simulator's words for what the gateway asks of it.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub word: &'static str,
    pub simulator: &'static str,
    /// Flags of the simulator: nothing waits for its half minute here.
    pub flags: &'static [&'static str],
    /// Operations: another code another way, forgetting a code, asking whether it is there.
    pub resend: &'static str,
    /// Those of another code the same way, when the first is no longer young.
    pub again: &'static [&'static str],
    pub cancel: &'static str,
    pub probe: &'static str,
    /// Wrong codes it takes.
    pub checks: usize,
}

pub const TWILIO: Kind = Kind {
    word: "twilio",
    simulator: "twilio",
    flags: &[],
    resend: "start",
    again: &["start"],
    cancel: "update",
    probe: "service",
    checks: 5,
};
pub const VONAGE: Kind = Kind {
    word: "vonage",
    simulator: "vonage",
    flags: &["--cancel-after", "0"],
    resend: "next",
    again: &["cancel", "start"],
    cancel: "cancel",
    probe: "cancel",
    checks: 3,
};
pub const VONAGE_V1: Kind = Kind { word: "vonage-v1", probe: "search", ..VONAGE };

impl Kind {
    /// A `[[provider]]` section for a simulator.
    pub fn section(&self, url: &str) -> String {
        if self.word == "twilio" {
            return super::provider("twilio", url);
        }
        format!(
            "[[provider]]\nkind = \"{}\"\nbase_url = \"{url}\"\napi_key = \"abcd1234\"\napi_secret = {{ file = \"{{dir}}/token\" }}\n",
            self.word
        )
    }

    /// Whether a path at the provider is one of a start or a check.
    pub fn is(&self, call: &str, path: &str) -> bool {
        let start =
            path.ends_with("/Verifications") || ["/v2/verify", "/v2/verify/", "/verify/json"].contains(&path);
        let check = path.ends_with("/VerificationCheck")
            || path.ends_with("/check/json")
            || path.strip_prefix("/v2/verify/").is_some_and(|id| id.len() == 36);
        if call == "start" { start } else { check }
    }
}

impl Scene {
    /// With one provider of a kind, alice and bob; `more` are sections of the configuration, `flags` the simulator's.
    pub async fn of(kind: Kind, flags: &[&str], more: &str) -> Self {
        let simulator = Simulator::start_kind(kind.simulator, flags);
        let upstream = Upstream::start().await;
        let provider = kind.section(&simulator.url) + "timeout = \"3s\"\n";
        let house = House::with_providers(&provider, &config(&upstream, more, ""));
        house.add_users(&[("alice", ALICE), ("bob", BOB)]);
        let gateway = Gateway::start(&house);
        Self { simulator, upstream, house, gateway }
    }
}

/// A gateway with one provider, and many people who have never been there.
pub struct Stage {
    pub kind: Kind,
    pub scene: Scene,
    people: usize,
}

impl Stage {
    pub async fn new(kind: Kind) -> Self {
        Self::with(kind, kind.flags).await
    }

    /// With other flags of the simulator.
    pub async fn with(kind: Kind, flags: &[&str]) -> Self {
        let scene = Scene::of(kind, flags, &format!("{RICH}{GENEROUS}")).await;
        scene.house.add_many(400);
        Self { kind, scene, people: 0 }
    }

    pub fn next_person(&mut self) -> (Browser, String) {
        self.people += 1;
        (self.scene.browser(), number(self.people - 1))
    }

    /// Switches a fault of one operation on until faults are cleared. What is slow is slower than the gateway waits.
    pub async fn fault(&self, on: &str, fault: &str) {
        let delay = if fault == "slow" { 3_500 } else { 0 };
        let fault = serde_json::json!({"on": on, "fault": fault, "times": 0, "delay_ms": delay});
        self.scene.simulator.fault(fault).await;
    }

    /// Somebody else's success, so that one failure does not weigh on the next.
    pub async fn heal(&mut self) {
        self.scene.simulator.clear_faults().await;
        let (browser, to) = self.next_person();
        let page = browser.start(&to).await;
        assert_eq!(page.status, 303, "{page:#?}");
        assert_eq!(self.scene.simulator.sent_to(&to).await, 1, "the provider is asked again");
    }
}

/// What stands at the top of a page, without what differs from visit to visit.
pub fn said(page: &str) -> String {
    let from = page.split_once("id=\"message\"").or_else(|| page.split_once("</h1>"));
    let from = from.map_or(page, |(_, rest)| rest).replace("<p ", "<p>\u{0}");
    let text = from.split_once("<p>").map_or("", |(_, rest)| rest);
    // The attributes of a paragraph that has some.
    let text =
        if text.starts_with('\u{0}') { text.split_once('>').map_or("", |(_, rest)| rest) } else { text };
    let text = text.split("</p>").next().unwrap_or_default();
    let mut shown = String::new();
    for word in text.split_whitespace() {
        // A wait is some seconds, a moment some time, a number ends in some digits.
        let differs = word.chars().any(|c| c.is_ascii_digit());
        let _ =
            write!(shown, "{}{}", if shown.is_empty() { "" } else { " " }, if differs { "N" } else { word });
    }
    shown
}
