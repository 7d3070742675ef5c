//! `[traces]`: where traces of requests go.

use secrecy::SecretString;
use url::Url;

use super::Purpose;
use super::reader::Section;
use super::secret;
use super::values::receiver;

/// `[traces]`, with somewhere to send them.
#[derive(Clone, Debug)]
pub struct Traces {
    /// Where they go, by OTLP over HTTP.
    pub endpoint: Url,
    /// Of so many of the requests that no proxy of ours decided about, from 0 to 1.
    pub sample: f64,
    /// What the collector knows us by: the value of `Authorization`.
    pub authorization: Option<SecretString>,
}

/// Whether this program can send any.
const BUILT_IN: bool = cfg!(feature = "otlp");

pub(super) fn traces(section: &Section<'_>) -> Option<Traces> {
    let endpoint = section.value("endpoint", |value| receiver(value.as_str().unwrap_or_default()));
    let authorization = secret::secret(section, "authorization");
    let sample = section.value("sample", |value| {
        let float = value.as_float().map(|number| number.as_str());
        let number = float.or_else(|| value.as_integer().map(|number| number.as_str()));
        let number = number.and_then(|text| text.parse().ok()).filter(|part| (0.0..=1.0).contains(part));
        number.ok_or_else(|| "not a part; write a number from 0.0 (none) to 1.0 (all)".to_owned())
    });
    if section.has("endpoint") && !BUILT_IN && section.purpose() == Purpose::Serve {
        let text = "this program was built without traces; build it with: cargo build --release --features otlp, or \
                    remove this key";
        section.problem("endpoint", text);
    }
    for key in ["authorization", "sample"] {
        if section.has(key) && !section.has("endpoint") {
            section.problem(key, "nobody is told; write endpoint = \"https://…\", or remove this key");
        }
    }
    section.finish();
    Some(Traces { endpoint: endpoint?, sample: sample.unwrap_or(0.01), authorization })
}
