//! Forward-auth: real nginx and real Caddy, run with the configurations of `docs/forward-auth.md`, and the questions of
//! all four proxies as raw bytes.

mod proxies;
mod questions;

use crate::common::{ALICE, BOB, Gateway, House, Simulator, Upstream};

/// Rules of the application.
const RULES: &str = r#"
[[route.rule]]
paths = ["/public"]
access = "allow"
[[route.rule]]
paths = ["/hook"]
methods = ["POST"]
access = "allow"
[[route.rule]]
paths = ["/office"]
networks = ["192.0.2.0/24"]
access = "allow"
[[route.rule]]
paths = ["/fresh"]
access = "challenge"
max_age = "1m"
[[route.rule]]
paths = ["/blocked"]
access = "deny"
"#;

/// A gateway that knows no upstream, but for a second host, and the application that a proxy would send requests to.
struct Asked {
    simulator: Simulator,
    upstream: Upstream,
    house: House,
    gateway: Gateway,
}

impl Asked {
    async fn start(dialect: &str, peers: &str) -> Self {
        let simulator = Simulator::start(&[]);
        let upstream = Upstream::start().await;
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\", \"unix:{{dir}}/socket\"]\npublic_url = \"http://127.0.0.1\"\n\
             state_directory = \"{{dir}}/state\"\nworkers = 1\n\n[forward_auth]\npeers = {peers}\n\
             dialect = \"{dialect}\"\n\n[[route]]\nidentity_headers = [\"Remote-User\"]\n{RULES}\n\
             [[route]]\nhost = \"other.test\"\nupstream = [\"http://{}\"]\n\n\
             [observe]\nlisten = \"127.0.0.1:0\"\n\n[log]\nformat = \"json\"\nlevel = \"debug\"\n",
            upstream.address
        );
        let house = House::new(&simulator, &text);
        house.add_users(&[("alice", ALICE), ("bob", BOB)]);
        let gateway = Gateway::start(&house);
        Self { simulator, upstream, house, gateway }
    }
}
