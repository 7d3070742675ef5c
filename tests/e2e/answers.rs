//! `docs/provider-answers.md`, walked row by row: each answer of each provider, caused at its simulator, has the
//! result, the sentence, the log level and the number of calls that stand there.

use std::fmt::Write as _;

use serde_json::Value;

use crate::common::journey::{Kind, Stage, TWILIO, VONAGE, VONAGE_V1, said};

const TABLE: &str = include_str!("../../docs/provider-answers.md");

/// One row: a call, the answers that are alike, and what comes of each.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    call: String,
    answers: Vec<String>,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    /// Our word for it, as the audit trail has it.
    result: String,
    /// The name of the page that the person reads.
    page: String,
    /// The level of the line in the log.
    level: String,
    /// How many calls reached the provider.
    calls: usize,
}

/// The name of a page, by its status and what it says.
fn name(status: u16, said: &str) -> String {
    let legend =
        TABLE.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() == 4).skip(1);
    let names = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        // What differs from visit to visit is left out behind the dots.
        let begins = cells[2].split('…').next().unwrap_or_default().trim();
        (cells[1] == status.to_string() && said.starts_with(begins)).then(|| cells[0].to_owned())
    };
    legend.clone().find_map(names).unwrap_or_else(|| format!("{status} {said}"))
}

/// The rows under one heading.
fn rows(heading: &str) -> Vec<Row> {
    let (_, section) = TABLE.split_once(&format!("## {heading}\n")).expect("the document has this heading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let lines = section.lines().filter(|line| line.starts_with("| start") || line.starts_with("| check"));
    lines.map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [call, answers, _, result, page, level, calls] = cells[..] else { panic!("not seven cells: {line}") };
    Row {
        call: call.to_owned(),
        // Every second piece stands between backticks.
        answers: answers.split('`').skip(1).step_by(2).map(str::to_owned).collect(),
        outcome: Outcome {
            result: result.trim_matches('`').to_owned(),
            page: page.to_owned(),
            level: level.to_owned(),
            calls: calls.parse().unwrap(),
        },
    }
}

/// How many calls of a kind came after those that were known.
async fn calls(stage: &Stage, known: &[Value], call: &str) -> usize {
    let requests = stage.scene.simulator.requests_after(known).await;
    let is = |request: &&Value| {
        request["method"] == "POST" && stage.kind.is(call, request["path"].as_str().unwrap())
    };
    requests.iter().filter(is).count()
}

async fn outcome(stage: &mut Stage, call: &str, answer: &str) -> Outcome {
    let (browser, to) = stage.next_person();
    if call == "check" {
        assert_eq!(browser.start(&to).await.status, 303);
    }
    let known = stage.scene.simulator.requests().await;
    stage.fault(call, answer).await;
    let mut page = if call == "start" {
        browser.start(&to).await
    } else {
        browser.verify(&stage.scene.simulator.code(&to).await).await
    };
    let status = page.status.as_u16();
    if page.location().starts_with("/.vestibule/challenge") {
        page = browser.go(page.location()).await;
    }
    let calls = calls(stage, &known, call).await;
    assert!(!browser.is_in().await, "{call} {answer} let somebody in");
    assert!(stage.scene.simulator.sent_to(&to).await <= 1, "{call} {answer} sent twice");
    let reference = page.reference().unwrap_or_else(|| panic!("{call} {answer}: no reference: {page:#?}"));
    let (result, level) = recorded(stage, reference);
    stage.heal().await;
    Outcome { result, page: name(status, &said(&page.text)), level, calls }
}

/// What the last call to the provider came to, and how loud the log told it.
fn recorded(stage: &mut Stage, reference: &str) -> (String, String) {
    let story = stage.scene.house.json(&["audit", "show", reference]);
    let told = story["events"].as_array().unwrap().iter().rev().find(|event| !event["call"].is_null());
    let told = told.unwrap_or_else(|| panic!("no call in {story:#}"));
    let (result, what) = (told["call"]["result"].as_str().unwrap(), told["event"].as_str().unwrap());
    let log = stage.scene.gateway.log();
    let line = log.lines().rfind(|line| line.contains(reference) && line.contains(&format!("\"{what}\"")));
    let line: Value = serde_json::from_str(line.expect("the log has it too")).unwrap();
    (result.to_owned(), line["level"].as_str().unwrap().to_owned())
}

async fn walk(kind: Kind, heading: &str, call: &str) {
    let rows = rows(heading).into_iter().filter(|row| row.call == call).collect::<Vec<_>>();
    assert!(rows.len() > 5, "{heading} has {} rows of {call}", rows.len());
    let mut stage = Stage::new(kind).await;
    let mut wrong = String::new();
    for row in rows {
        for answer in &row.answers {
            let seen = outcome(&mut stage, call, answer).await;
            println!(
                "| {call} | `{answer}` | | `{}` | {} | {} | {} |",
                seen.result, seen.page, seen.level, seen.calls
            );
            if seen != row.outcome {
                let _ = writeln!(
                    wrong,
                    "{heading}, {call} `{answer}`\n  written {:?}\n  seen    {seen:?}",
                    row.outcome
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    let log = stage.scene.gateway.stop();
    assert!(!log.contains("panicked") && !log.contains("+1415"), "{log}");
}

#[tokio::test]
async fn twilio_start() {
    walk(TWILIO, "Twilio Verify", "start").await;
}

#[tokio::test]
async fn twilio_check() {
    walk(TWILIO, "Twilio Verify", "check").await;
}

#[tokio::test]
async fn vonage_start() {
    walk(VONAGE, "Vonage Verify v2", "start").await;
}

#[tokio::test]
async fn vonage_check() {
    walk(VONAGE, "Vonage Verify v2", "check").await;
}

#[tokio::test]
async fn vonage_v1_start() {
    walk(VONAGE_V1, "Vonage Verify v1", "start").await;
}

#[tokio::test]
async fn vonage_v1_check() {
    walk(VONAGE_V1, "Vonage Verify v1", "check").await;
}

/// No code of the dictionary is missing from the table.
#[test]
fn every_code_the_adapters_know_is_in_the_table() {
    let twilio = include_str!("../../src/verifier/twilio/error.rs");
    let known =
        twilio.split("fn by_code").nth(1).and_then(|rest| rest.split("_ => return None").next()).unwrap();
    let codes = known.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() == 5);
    for code in codes {
        assert!(TABLE.contains(&format!("`{code}`")), "{code} is not in docs/provider-answers.md");
    }
}
