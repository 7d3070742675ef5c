//! `vestibule demo`: the whole main job in one process, with nothing to set up and nothing left behind.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::output::{broken, stdout};
use super::{Failure, log};
use crate::app::{Gateway, Office, Signal, State};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Purpose, Settings};
use crate::crypto;
use crate::server::passed::Passed;
use crate::simulator::application;
use crate::simulator::twilio::{Options, Simulator};
use crate::store::{NewUser, Use};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the gateway listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

const USER: &str = "alice";
/// Of the numbers set aside for fiction (NANP 555-01XX).
const PHONE: &str = "+14155550100";

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let directory = Temporary::new("demo")?;
    let runtime = Runtime::new().map_err(|error| Failure::Runtime(error.to_string()))?;
    let (application, provider) = runtime.block_on(surroundings())?;
    let settings = settings(args.listen, &directory.0, application, provider)?;
    log::start(&settings.log)?;
    let state = State::open_for(&settings, Use::Serve)?;
    runtime.block_on(add_user(&state))?;
    let mut gateway = Gateway::start_on(Office::open()?, &settings, state, &mut Passed::from_environment())?;
    let address = gateway.addresses.first().map_or("", String::as_str);
    greet(address).map_err(|error| broken(&error))?;
    // There is no file to read again.
    while gateway.wait() != Signal::End {}
    gateway.stop();
    Ok(())
}

/// The sample application and the simulated provider, each on a port of its own.
async fn surroundings() -> Result<(SocketAddr, SocketAddr), Failure> {
    let (application_listener, application) = listener().await?;
    tokio::spawn(application::serve(application_listener));
    let (provider_listener, provider) = listener().await?;
    let simulator = Simulator::new(Options::default());
    tokio::spawn(simulator.serve(provider_listener, |sent| {
        // Whoever closed our output has seen enough.
        let _ = writeln!(stdout(), "code {} {}", sent.to, sent.code);
    }));
    Ok((application, provider))
}

async fn listener() -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |error: std::io::Error| Failure::Runtime(format!("no free port: {error}"));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// An ordinary configuration: the demo takes the same way as everybody.
fn settings(
    listen: SocketAddr,
    directory: &Path,
    application: SocketAddr,
    provider: SocketAddr,
) -> Result<Settings, Failure> {
    let secret = directory.join("auth-token");
    std::fs::write(&secret, "demo").map_err(|error| Failure::Runtime(error.to_string()))?;
    let (directory, secret) = (directory.display(), secret.display());
    let text = format!(
        r#"
        [server]
        listen = ["{listen}"]
        public_url = "http://{listen}"
        state_directory = "{directory}"

        [[route]]
        upstream = ["http://{application}"]

        [[route]]
        host = "localhost"
        upstream = ["http://{application}"]

        [[provider]]
        kind = "twilio"
        base_url = "http://{provider}"
        account_sid = "AC00000000000000000000000000000000"
        auth_token = {{ file = "{secret}" }}
        service_sid = "VA00000000000000000000000000000000"

        [challenge]
        brand = "Vestibule demo"
        default_region = "US"

        [observe]
        listen = "127.0.0.1:0"

        [log]
        level = "warn"
        "#
    );
    Settings::parse(&text, Purpose::Serve).map_err(|problems| {
        let list: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Failure::Usage(format!("the demo cannot listen on {listen}: {}", list.join("\n")))
    })
}

async fn add_user(state: &State) -> Result<(), Failure> {
    let name = USER.parse().map_err(|error| Failure::Runtime(format!("{error}")))?;
    let phone_number = PHONE.parse().map_err(|error| Failure::Runtime(format!("{error}")))?;
    let added = state.store.add_users(vec![NewUser { name, phone_number }], SystemClock.now()).await?;
    added.map_err(|conflict| Failure::Runtime(conflict.to_string()))
}

fn greet(address: &str) -> std::io::Result<()> {
    let mut out = stdout();
    writeln!(out, "Vestibule demo: a sample application behind the gateway, and a simulated provider.")?;
    writeln!(out)?;
    writeln!(out, "  open   http://{address}/")?;
    writeln!(out, "  type   {PHONE}")?;
    writeln!(out)?;
    writeln!(
        out,
        "Each code that would be sent to that phone appears here. Stop with Ctrl-C; nothing is kept."
    )?;
    writeln!(out)?;
    out.flush()
}

/// A directory of its own that goes with the command.
pub(super) struct Temporary(pub(super) PathBuf);

impl Temporary {
    /// Of this command's.
    pub(super) fn new(command: &str) -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        let name = format!("vestibule-{command}-{:016x}", u64::from_ne_bytes(crypto::random()));
        let path = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Failure::Runtime(format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
