//! `vestibule init`: a first configuration from six answers. What is written has been checked; nothing is overwritten
//! unless asked for, and the secret goes to a file of its own.

mod answers;
mod ask;
mod write;

use std::path::{Path, PathBuf};
use std::process::Command;

use self::answers::Answers;
use super::{Config, Failure, output};
use crate::config::PublicUrl;
use crate::domain::phone::Region;
use crate::domain::user::UserName;

pub(super) const HELP: &str = "Asks for what no flag says. The provider's secret is typed unseen, or read from a file.\n\n\
                               Examples:\n  sudo vestibule init\n  vestibule init --public-url https://wiki.example.com \
                               --upstream http://127.0.0.1:8080 --tls files --certificate /etc/vestibule/fullchain.pem \
                               --private-key /etc/vestibule/privkey.pem --provider twilio --account AC… --service VA… \
                               --secret-file token --user alice --phone '+1 415 555 0100' --region US";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: Config,
    /// What people type
    #[arg(long, value_name = "URL")]
    public_url: Option<PublicUrl>,
    /// Where the application runs
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Who does TLS: certificate files, ACME (certificates by themselves), or a proxy in front
    #[arg(long, value_enum)]
    tls: Option<Tls>,
    /// The certificate chain, PEM, with --tls files
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its key, PEM, with --tls files
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// Whom the authority writes to, with --tls acme
    #[arg(long, value_name = "MAIL")]
    contact: Option<String>,
    /// Where to listen [default: 0.0.0.0:443, behind a proxy 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR")]
    listen: Option<std::net::SocketAddr>,
    /// Who sends codes
    #[arg(long, value_enum)]
    provider: Option<Kind>,
    /// Our account there: Twilio's account_sid, Vonage's api_key
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// The Verify Service, for Twilio
    #[arg(long, value_name = "SID")]
    service: Option<String>,
    /// Where a simulated provider runs, for a rehearsal
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// A file with the provider's secret, which is copied
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The first user
    #[arg(long, value_name = "NAME")]
    user: Option<UserName>,
    /// Their phone number
    #[arg(long, value_name = "NUMBER")]
    phone: Option<String>,
    /// The country of numbers that are typed without one, two letters
    #[arg(long, value_name = "COUNTRY")]
    region: Option<Region>,
    /// Write over what is there
    #[arg(long)]
    force: bool,
    /// Do not ask provider, DNS and upstream whether they are there
    #[arg(long)]
    offline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Tls {
    Files,
    Acme,
    Proxy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Twilio,
    Vonage,
}

impl Kind {
    /// The name of its secret among the service's credentials.
    const fn credential(self) -> &'static str {
        match self {
            Self::Twilio => "twilio-auth-token",
            Self::Vonage => "vonage-api-secret",
        }
    }
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let file = args.config.config.clone();
    let credentials = file.parent().unwrap_or_else(|| Path::new(".")).join("credentials");
    let (force, offline) = (args.force, args.offline);
    if !force && file.exists() {
        let text = format!("{} is there already; look at it, or write over it with --force", file.display());
        return Err(Failure::Runtime(text));
    }
    let answers = Answers::collect(args)?;
    write::all(&file, &credentials, &answers, force)?;
    output::line(&format!("wrote {}", file.display()))?;
    output::line(&format!("wrote {}", credentials.join(answers.kind.credential()).display()))?;
    if !offline {
        output::line("")?;
        check(&file, &credentials)?;
    }
    next(&file, &answers)
}

/// As another process: only a process's own environment says where its credentials are.
fn check(file: &Path, credentials: &Path) -> Result<(), Failure> {
    let ours = std::env::current_exe().map_err(|error| Failure::Runtime(error.to_string()))?;
    let mut check = Command::new(ours);
    check.args(["check", "--online", "--config"]).arg(file).env("CREDENTIALS_DIRECTORY", credentials);
    // What it found it has said; the files are written all the same.
    let ended = check.status().map_err(|error| Failure::Runtime(error.to_string()))?;
    if ended.success() { Ok(()) } else { output::line("\nMend what it found, then go on:") }
}

fn next(file: &Path, answers: &Answers) -> Result<(), Failure> {
    let config = match file.to_str() {
        Some("/etc/vestibule/config.toml") => String::new(),
        Some(_) | None => format!(" --config {}", file.display()),
    };
    output::line("\nNext:")?;
    if answers.kind != Kind::Twilio {
        let name = answers.kind.credential();
        output::line("  sudo systemctl edit vestibule      # and write, under [Service]:")?;
        // Without it the unit still wants Twilio's, and does not start.
        output::line("    LoadCredential=")?;
        output::line(&format!("    LoadCredential={name}:/etc/vestibule/credentials/{name}"))?;
    }
    output::line("  sudo systemctl enable --now vestibule")?;
    output::line(&format!("  sudo vestibule user add {} --phone '{}'{config}", answers.user, answers.phone))
}
