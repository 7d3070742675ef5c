//! The six answers, from flags or from the terminal.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum as _;
use secrecy::SecretString;

use super::ask::{ask, ask_unseen, somebody_is_there};
use super::{Args, Kind, Tls};
use crate::cli::Failure;
use crate::config::{PublicUrl, Upstream};
use crate::domain::phone::{PhoneNumber, Region};
use crate::domain::user::UserName;

/// Everything that a first configuration says.
pub(super) struct Answers {
    pub(super) public_url: PublicUrl,
    pub(super) upstream: String,
    pub(super) tls: Encrypted,
    pub(super) listen: SocketAddr,
    pub(super) kind: Kind,
    pub(super) account: String,
    /// Of Twilio.
    pub(super) service: Option<String>,
    /// Of a simulator.
    pub(super) base_url: Option<String>,
    pub(super) secret: SecretString,
    pub(super) user: UserName,
    pub(super) phone: String,
    pub(super) region: Option<Region>,
}

/// Who does TLS.
pub(super) enum Encrypted {
    Files { certificate: PathBuf, private_key: PathBuf },
    Acme { contact: String },
    Proxy,
}

impl Answers {
    pub(super) fn collect(args: Args) -> Result<Self, Failure> {
        let missing = missing(&args);
        if !missing.is_empty() && !somebody_is_there() {
            let text = format!("nobody is there to answer; give {}", missing.join(", "));
            return Err(Failure::Usage(text));
        }
        let public_url = given(args.public_url, || {
            ask("1. What people type, like https://wiki.example.com", None, |text| {
                text.parse::<PublicUrl>().map_err(str::to_owned)
            })
        })?;
        let upstream = given(args.upstream, || {
            ask("2. Where the application runs", Some("http://127.0.0.1:8080"), |text| Ok(text.to_owned()))
        })?;
        upstream.parse::<Upstream>().map_err(|error| Failure::Usage(format!("--upstream: {error}")))?;
        let tls = tls(args.tls, &public_url, args.certificate, args.private_key, args.contact)?;
        let usual =
            if matches!(tls, Encrypted::Proxy) { ([127, 0, 0, 1], 8443) } else { ([0, 0, 0, 0], 443) };
        let base_url = args.base_url;
        let kind = given(args.provider, || {
            ask("4. Who sends codes: twilio or vonage", Some("twilio"), |text| Kind::from_str(text, true))
        })?;
        let (account, service, secret) = account(kind, args.account, args.service, args.secret_file)?;
        let user = given(args.user, || {
            ask("5. Name of the first user", Some("admin"), |text| {
                text.parse::<UserName>().map_err(|error| error.to_string())
            })
        })?;
        let region = match (args.region, args.phone.is_none()) {
            (None, true) => region()?,
            (region, _) => region,
        };
        let read = |text: &str| {
            let number = PhoneNumber::parse(text, region).map_err(|error| error.to_string())?;
            Ok(number.as_e164().to_owned())
        };
        let phone = match args.phone {
            Some(phone) => read(&phone).map_err(|error| Failure::Usage(format!("--phone: {error}")))?,
            None => ask("   Their phone number, like +14155550100", None, read)?,
        };
        let listen = args.listen.unwrap_or_else(|| SocketAddr::from(usual));
        Ok(Self {
            public_url,
            upstream,
            tls,
            listen,
            kind,
            account,
            service,
            base_url,
            secret,
            user,
            phone,
            region,
        })
    }
}

/// The flags that would have to be asked for.
fn missing(args: &Args) -> Vec<&'static str> {
    let files = args.tls == Some(Tls::Files);
    let twilio = args.provider != Some(Kind::Vonage);
    let speaks_tls = args.public_url.as_ref().is_none_or(|url| url.secure);
    let needed = [
        (args.public_url.is_none(), "--public-url"),
        (args.upstream.is_none(), "--upstream"),
        (args.tls.is_none() && speaks_tls, "--tls"),
        (files && args.certificate.is_none(), "--certificate"),
        (files && args.private_key.is_none(), "--private-key"),
        (args.tls == Some(Tls::Acme) && args.contact.is_none(), "--contact"),
        (args.provider.is_none(), "--provider"),
        (args.account.is_none(), "--account"),
        (twilio && args.service.is_none(), "--service"),
        (args.secret_file.is_none(), "--secret-file"),
        (args.user.is_none(), "--user"),
        (args.phone.is_none(), "--phone"),
    ];
    needed.into_iter().filter_map(|(is_missing, flag)| is_missing.then_some(flag)).collect()
}

fn given<T>(flag: Option<T>, ask: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    flag.map_or_else(ask, Ok)
}

fn tls(
    tls: Option<Tls>,
    url: &PublicUrl,
    certificate: Option<PathBuf>,
    private_key: Option<PathBuf>,
    contact: Option<String>,
) -> Result<Encrypted, Failure> {
    let tls = match tls {
        Some(tls) => tls,
        // Nothing to ask: nobody speaks it.
        None if !url.secure => Tls::Proxy,
        None => {
            let question = "3. Who does TLS: files (a certificate you have), acme (one is fetched), proxy (one in front)";
            ask(question, Some("files"), |text| Tls::from_str(text, true))?
        }
    };
    let path = |text: &str| {
        let path = Path::new(text);
        if path.is_file() { Ok(path.to_owned()) } else { Err("there is no such file".to_owned()) }
    };
    Ok(match tls {
        Tls::Proxy => Encrypted::Proxy,
        Tls::Files => Encrypted::Files {
            certificate: given(certificate, || {
                ask("   The certificate chain, PEM", Some("/etc/vestibule/fullchain.pem"), path)
            })?,
            private_key: given(private_key, || {
                ask("   Its key, PEM", Some("/etc/vestibule/privkey.pem"), path)
            })?,
        },
        Tls::Acme => Encrypted::Acme {
            contact: given(contact, || {
                ask(
                    "   Let's Encrypt issues it to who agrees to its terms (letsencrypt.org). Your mail address, if you do",
                    None,
                    |text| {
                        if text.contains('@') {
                            Ok(text.to_owned())
                        } else {
                            Err("not a mail address".to_owned())
                        }
                    },
                )
            })?,
        },
    })
}

fn account(
    kind: Kind,
    account: Option<String>,
    service: Option<String>,
    secret_file: Option<PathBuf>,
) -> Result<(String, Option<String>, SecretString), Failure> {
    let not_empty =
        |text: &str| if text.is_empty() { Err("it is needed".to_owned()) } else { Ok(text.to_owned()) };
    let (id, secret) = match kind {
        Kind::Twilio => ("   Account SID, AC…", "   Auth token"),
        Kind::Vonage => ("   API key", "   API secret"),
    };
    let account = given(account, || ask(id, None, not_empty))?;
    let service = match kind {
        Kind::Twilio => Some(given(service, || ask("   Verify Service SID, VA…", None, not_empty))?),
        Kind::Vonage => None,
    };
    let secret = match secret_file {
        Some(file) => read_secret(&file)?,
        None => ask_unseen(secret)?,
    };
    Ok((account, service, secret))
}

fn read_secret(file: &Path) -> Result<SecretString, Failure> {
    let text = std::fs::read_to_string(file);
    let text =
        text.map_err(|error| Failure::Runtime(format!("--secret-file {}: {error}", file.display())))?;
    if text.trim().is_empty() {
        return Err(Failure::Runtime(format!("--secret-file {} is empty", file.display())));
    }
    Ok(text.trim().into())
}

fn region() -> Result<Option<Region>, Failure> {
    let question = "6. Country of numbers typed without one, two letters; empty for none";
    ask(question, Some("none"), |text| match text {
        "none" => Ok(None),
        text => text.to_ascii_uppercase().parse::<Region>().map(Some).map_err(|error| error.to_string()),
    })
}
