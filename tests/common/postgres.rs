//! A real PostgreSQL for the tests: a cluster of their own in a temporary directory, over TLS with a certificate of
//! their own authority, gone when the test process is, however that ends.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Where Debian has the programs of the server.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// Whom the gateway is to the database.
const ROLE: &str = "vestibule";
/// As awkward as one may be: it never stands in a URL.
const PASSWORD: &str = "p@ss:w/rd?&% of 'the' tests";

/// What gateways that share a store seal their secrets with.
const MASTER_KEY: &str = "VGhpcnR5LXR3byBieXRlcyBmb3IgdGhlIHRlc3RzLi4=";

/// One server process with its data. Nothing that makes a commit safe is off.
pub struct Cluster {
    directory: PathBuf,
    port: u16,
    /// Ends the server and removes the directory as soon as its standard input ends, with this process at the latest.
    watch: Child,
}

/// Whether a server speaks TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    On,
    Off,
}

impl Cluster {
    /// The one that all tests of this process share.
    pub fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Cluster>> = OnceLock::new();
        SHARED.get_or_init(Self::own).clone()
    }

    /// One for a test that stops it.
    pub fn own() -> Arc<Self> {
        Self::make(Tls::On)
    }

    /// One that speaks no TLS.
    pub fn without_tls() -> Arc<Self> {
        Self::make(Tls::Off)
    }

    fn make(tls: Tls) -> Arc<Self> {
        let programs = Path::new(PROGRAMS).join("postgres");
        assert!(programs.exists(), "there is no {}; apt-get install postgresql-15", programs.display());
        let directory = tempfile::Builder::new().prefix("vestibule-pg-").tempdir().unwrap().keep();
        let cluster = Self { watch: watch(&directory), directory, port: free_port() };
        cluster.give_away("");
        write(&cluster.password_file(), PASSWORD);
        write(&cluster.master_key_file(), MASTER_KEY);
        cluster.initialise(tls);
        cluster.start();
        cluster.sql(
            "postgres",
            &format!("CREATE ROLE {ROLE} LOGIN PASSWORD '{}'", PASSWORD.replace('\'', "''")),
        );
        Arc::new(cluster)
    }

    /// Text is ordered as people in America order it, as at many a provider of databases: not by its bytes.
    fn initialise(&self, tls: Tls) {
        let order = ["--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"];
        // What was made is safe; that it is being made need not be.
        let made =
            self.program("initdb").args(["--no-sync", "-U", "postgres", "-A", "trust"]).args(order).output();
        succeeded("initdb", made);
        let data = self.directory.join("data");
        let socket = self.directory.display();
        let mut settings = format!(
            "\nlisten_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{socket}'\n\
             max_connections = 200\nshared_buffers = 64MB\nmax_wal_size = 256MB\nlog_line_prefix = '%m %d %p '\n\
             log_lock_waits = on\n",
            self.port
        );
        if tls == Tls::On {
            self.certify();
            settings += "ssl = on\nssl_cert_file = '../server.pem'\nssl_key_file = '../server.key'\n";
        }
        let mut file = fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).unwrap();
        file.write_all(settings.as_bytes()).unwrap();
        // A client that forgets TLS gets in, so that a test can tell.
        let doors = "local all postgres trust\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), doors).unwrap();
    }

    /// An authority, and a certificate for the names this server goes by.
    fn certify(&self) {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the tests' authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = CertificateParams::new(["localhost", "127.0.0.1"].map(str::to_owned)).unwrap();
        write(&self.ca_file(), &authority.pem());
        write(&self.directory.join("server.pem"), &names.signed_by(&key, &authority).unwrap().pem());
        write(&self.directory.join("server.key"), &key.serialize_pem());
        self.give_away("server.pem");
        self.give_away("server.key");
    }

    /// The server does not run as root, and reads nothing of root's.
    fn give_away(&self, name: &str) {
        if let Some((user, group)) = server_user() {
            chown(self.directory.join(name), Some(user), Some(group)).unwrap();
        }
    }

    /// Starts the server again, on the same port, and waits until it answers.
    pub fn start(&self) {
        let log = self.directory.join("log");
        let started = self.program("pg_ctl").args(["start", "-w", "-s", "-l"]).arg(&log).output();
        let started = started.expect("pg_ctl runs");
        assert!(started.status.success(), "{}", self.log());
    }

    /// Stops it: whoever is connected is thrown out, what was committed stays.
    pub fn stop(&self) {
        succeeded("pg_ctl", self.program("pg_ctl").args(["stop", "-w", "-s", "-m", "fast"]).output());
    }

    /// Stops it as a power cut would.
    pub fn crash(&self) {
        succeeded("pg_ctl", self.program("pg_ctl").args(["stop", "-w", "-s", "-m", "immediate"]).output());
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// A database without anything in it.
    pub fn database(self: &Arc<Self>) -> Database {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", MADE.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {ROLE} TEMPLATE template0"));
        Database { cluster: self.clone(), name }
    }

    /// Where the authority stands that the server's certificate is of.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    fn master_key_file(&self) -> PathBuf {
        self.directory.join("master.key")
    }

    fn password_file(&self) -> PathBuf {
        self.directory.join("password")
    }

    /// What psql prints, as the administrator; columns are separated by `|`.
    fn sql(&self, database: &str, text: &str) -> String {
        let said = succeeded("psql", self.psql(database, text).output());
        String::from_utf8(said.stdout).unwrap().trim_end().to_owned()
    }

    fn psql(&self, database: &str, text: &str) -> Command {
        let mut psql = psql();
        psql.args(["-U", "postgres", "-d", database, "-h"]).arg(&self.directory);
        psql.args(["-p", &self.port.to_string(), "-c", text]);
        psql
    }

    /// A program of the server's on its data, as the user that may run it.
    fn program(&self, name: &str) -> Command {
        let mut command = unprivileged(&Path::new(PROGRAMS).join(name));
        command.arg("-D").arg(self.directory.join("data")).current_dir(&self.directory).stdin(Stdio::null());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

/// One database of a cluster.
pub struct Database {
    cluster: Arc<Cluster>,
    name: String,
}

impl Database {
    /// A new one in the cluster that all tests share.
    pub fn fresh() -> Self {
        Cluster::shared().database()
    }

    /// Another one beside this.
    pub fn another(&self) -> Self {
        self.cluster.database()
    }

    /// The server it lies on.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// As it stands in the configuration; the password does not.
    pub fn url(&self) -> String {
        format!("postgres://{ROLE}@127.0.0.1:{}/{}", self.cluster.port, self.name)
    }

    /// The password of the user in the URL.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// A file with the authority of the server's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.cluster.ca_file()
    }

    /// The `[store]` section of a gateway.
    pub fn settings(&self) -> String {
        format!(
            "[store]\nurl = \"{}\"\npassword = {{ file = \"{}\" }}\nmaster_key = {{ file = \"{}\" }}\nca = \"{}\"\n",
            self.url(),
            self.cluster.password_file().display(),
            self.cluster.master_key_file().display(),
            self.ca_file().display()
        )
    }

    /// Runs a statement as the administrator of the cluster; what it prints, columns separated by `|`.
    pub fn sql(&self, text: &str) -> String {
        self.cluster.sql(&self.name, text)
    }

    /// Whether the database does not let a statement happen.
    pub fn refuses(&self, text: &str) -> bool {
        !self.cluster.psql(&self.name, text).output().unwrap().status.success()
    }

    /// Breaks every connection to this database; how many there were.
    pub fn kill_connections(&self) -> usize {
        let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.sql(kill).parse().unwrap()
    }

    /// How many connections of the gateway's there are, over TLS and without.
    pub fn connections(&self) -> (usize, usize) {
        let count = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl) \
                     FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) \
                     WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let counts = self.sql(count);
        let (over_tls, plain) = counts.split_once('|').unwrap();
        (over_tls.parse().unwrap(), plain.parse().unwrap())
    }
}

/// The client, which prints columns separated by `|` and stops at the first error.
pub fn psql() -> Command {
    let mut psql = Command::new(Path::new(PROGRAMS).join("psql"));
    psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1"]).stdin(Stdio::null());
    psql
}

/// Waits for the end of its input in a group of its own, which no key of a terminal's reaches.
fn watch(directory: &Path) -> Child {
    let script = "cat >/dev/null; \"$0\" stop -D \"$1/data\" -w -s -m immediate; rm -rf \"$1\"";
    let mut shell = unprivileged(Path::new("/bin/sh"));
    shell.args(["-c", script]).arg(Path::new(PROGRAMS).join("pg_ctl")).arg(directory);
    shell.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.process_group(0).spawn().unwrap()
}

/// A program that must not run as root.
fn unprivileged(program: &Path) -> Command {
    let Some((user, group)) = server_user() else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    let [user, group] = [("reuid", user), ("regid", group)].map(|(what, id)| format!("--{what}={id}"));
    command.args([&user, &group, "--clear-groups", "--"]).arg(program);
    command
}

/// Who runs the server when root runs the tests: the user and group that Debian's package made for it.
fn server_user() -> Option<(u32, u32)> {
    static USER: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *USER.get_or_init(|| {
        let id = |arguments: &[&str]| -> u32 {
            let said = succeeded("id", Command::new("id").args(arguments).output());
            String::from_utf8(said.stdout).unwrap().trim().parse().unwrap()
        };
        (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
    })
}

/// A free port below those that outgoing connections get: while the server is down nobody takes it by chance.
fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let candidates = (0..100).map(|_| {
        let any = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        10_000 + any % 20_000
    });
    candidates.into_iter().find(is_free).expect("a port is free")
}

fn write(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[track_caller]
fn succeeded(program: &str, output: std::io::Result<Output>) -> Output {
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
