//! What needs hours: the rules of signing in under a clock that is moved by hand, on the real store and against the
//! real provider simulator over a real socket.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use vestibule::access::keys::Keys;
use vestibule::access::sessions::{Ended, LiveSession, Sessions, Unusable};
use vestibule::access::sign_in::{Cause, Failure, Identity, Parts, SignIn, SignedIn};
use vestibule::app::{self, State};
use vestibule::audit::Audit;
use vestibule::clock::{Clock as _, ManualClock};
use vestibule::config::{Account, Purpose, Settings};
use vestibule::domain::challenge::{Challenge, Subject};
use vestibule::domain::channel::Channel;
use vestibule::domain::id::ChallengeId;
use vestibule::domain::return_to::ReturnTo;
use vestibule::domain::session::SessionEnd;
use vestibule::domain::time::Timestamp;
use vestibule::domain::user::UserId;
use vestibule::metrics::Metrics;
use vestibule::simulator::SentCode;
use vestibule::simulator::twilio::{Options, Simulator};
use vestibule::store::{NewUser, Store, UserChange, UserKey, Which};
use vestibule::verifier::failover::Failover;

const ALICE: &str = "+14155550100";
const STRANGER: &str = "+14155550199";
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Codes as the simulator sent them.
type Sent = Arc<Mutex<Vec<SentCode>>>;

/// A gateway without its front.
struct World {
    clock: Arc<ManualClock>,
    store: Store,
    sessions: Arc<Sessions>,
    keys: Arc<Keys>,
    sign_in: SignIn,
    failover: Arc<Failover>,
    /// The newest challenge of alice.
    last: Mutex<Option<ChallengeId>>,
    settings: Settings,
    sent: Sent,
}

async fn provider() -> (String, Sent) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sent = Sent::default();
    let heard = sent.clone();
    let simulator = Simulator::new(Options::default());
    tokio::spawn(simulator.serve(listener, move |code| heard.lock().unwrap().push(code.clone())));
    (url, sent)
}

impl World {
    /// A new one, with alice in it.
    async fn new(directory: &Path, limits: &str) -> Self {
        let (url, sent) = provider().await;
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
        let world = Self::open(directory, limits, &url, clock, sent).await;
        let alice = NewUser { name: "alice".parse().unwrap(), phone_number: ALICE.parse().unwrap() };
        world.store.add_users(vec![alice], world.clock.now()).await.unwrap().unwrap();
        world
    }

    async fn open(directory: &Path, limits: &str, url: &str, clock: Arc<ManualClock>, sent: Sent) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let settings = settings(directory, limits, url);
        let State { store, master } = State::open(&settings).unwrap();
        let keys = Arc::new(Keys::open(store.clone(), master.clone(), &*clock).await.unwrap());
        let sessions = Arc::new(Sessions::new(store.clone(), settings.session, clock.clone()));
        let failover = Arc::new(app::failover(&settings, clock.clone()).unwrap());
        let lines = app::lines(&settings, &State { store: store.clone(), master: master.clone() }).unwrap();
        let lines = Arc::new(lines);
        let parts = Parts {
            store: store.clone(),
            failover: failover.clone(),
            clock: clock.clone(),
            keys: keys.clone(),
            master,
            audit: Audit::new(store.clone(), Metrics::new(&store)),
        };
        let sign_in = SignIn::new(parts, lines, &settings);
        Self { clock, store, sessions, keys, sign_in, failover, last: Mutex::default(), settings, sent }
    }

    /// The same files and the same hour, another process.
    async fn restarted(self, directory: &Path, limits: &str) -> Self {
        let Account::Twilio(twilio) = &self.settings.providers[0].account else { panic!("one Twilio") };
        let (url, clock, sent) = (twilio.base_url.clone(), self.clock.clone(), self.sent.clone());
        drop(self);
        Self::open(directory, limits, &url, clock, sent).await
    }

    /// Time passes, here by hand and at the provider by cancelling what would have expired there.
    async fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        let last = *self.last.lock().unwrap();
        if let Some(last) = last.filter(|_| seconds >= 600) {
            let holder = self.store.challenge(last).await.unwrap().and_then(|challenge| challenge.holder);
            let _ = self.failover.cancel(&holder.unwrap()).await;
        }
    }

    async fn start(&self, phone: &str) -> Result<Challenge, Cause> {
        let started = self.sign_in.start(Identity::Phone(phone.to_owned()), ReturnTo::home(), CLIENT).await;
        let started = started.map_err(|Failure { cause, .. }| cause)?;
        if phone == ALICE {
            *self.last.lock().unwrap() = Some(started.id);
        }
        Ok(started)
    }

    async fn verify(&self, id: ChallengeId, code: &str) -> Result<SignedIn, Cause> {
        self.sign_in.verify(id, code, CLIENT, None).await.map_err(|Failure { cause, .. }| cause)
    }

    async fn wait_of_start(&self, phone: &str) -> Option<u64> {
        match self.start(phone).await {
            Ok(_) => None,
            Err(Cause::TooManyRequests(wait)) => Some(wait.as_secs()),
            Err(other) => panic!("{other}"),
        }
    }

    fn code(&self) -> String {
        self.sent.lock().unwrap().last().unwrap().code.clone()
    }

    fn messages(&self) -> usize {
        self.sent.lock().unwrap().len()
    }

    async fn failures(&self) -> u32 {
        self.store.failures(Subject::user(UserId(1))).await.unwrap().count
    }

    /// Types one wrong code, asking for another code first where the last takes no more.
    async fn wrong(&self) -> Cause {
        let before = self.failures().await;
        for _ in 0..3 {
            let challenge = self.start(ALICE).await.unwrap();
            let code = if self.messages() > 0 && self.code() == "000000" { "111111" } else { "000000" };
            let cause = self.verify(challenge.id, code).await.unwrap_err();
            if self.failures().await > before || !matches!(cause, Cause::TooManyChecks(_) | Cause::Expired) {
                return cause;
            }
        }
        panic!("no code is looked at");
    }

    /// Does something to the file behind the gateway's back.
    fn sql(&self, text: &str) {
        let file = self.settings.server.state_directory.join("vestibule.db");
        rusqlite::Connection::open(file).unwrap().execute_batch(text).unwrap();
    }

    async fn sign_in(&self) -> SignedIn {
        let challenge = self.start(ALICE).await.unwrap();
        self.verify(challenge.id, &self.code()).await.unwrap()
    }
}

fn settings(directory: &Path, limits: &str, url: &str) -> Settings {
    let path = directory.display();
    std::fs::write(directory.join("token"), "secret").unwrap();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\npublic_url = \"http://127.0.0.1\"\nstate_directory = \"{path}/state\"\n\
         [[route]]\nupstream = [\"http://127.0.0.1:1\"]\n\
         [[provider]]\nkind = \"twilio\"\nbase_url = \"{url}\"\naccount_sid = \"AC{}\"\nauth_token = {{ file = \"{path}/token\" }}\nservice_sid = \"VA{}\"\n\
         [limits]\nstarts_per_address = \"100000/1s\"\nchecks_per_address = \"100000/1s\"\n{limits}\n",
        "0".repeat(32),
        "1".repeat(32),
    );
    Settings::parse(&text, Purpose::Serve).unwrap()
}

const GENEROUS: &str = "starts_per_number = \"10000/1h\"\nstarts_per_user = \"10000/1h\"";

#[tokio::test]
async fn five_starts_in_any_hour_and_not_one_more_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new(directory.path(), "").await;
    for _ in 0..5 {
        for phone in [ALICE, STRANGER] {
            assert_eq!(world.wait_of_start(phone).await, None);
        }
        world.pass(600).await;
    }
    for (passed, wait) in [(0, 600), (599, 1)] {
        world.pass(passed).await;
        for phone in [ALICE, STRANGER] {
            assert_eq!(world.wait_of_start(phone).await, Some(wait), "{phone}");
        }
        world = world.restarted(directory.path(), "").await;
        assert_eq!(world.wait_of_start(ALICE).await, Some(wait), "a restart forgets nothing");
    }
    // The first is an hour old now; the next place is free when the second is.
    world.pass(1).await;
    assert_eq!(world.wait_of_start(ALICE).await, None);
    assert_eq!(world.wait_of_start(ALICE).await, Some(600));
    world.pass(600).await;
    assert_eq!(world.wait_of_start(ALICE).await, None);
    let to_stranger = world.sent.lock().unwrap().iter().filter(|sent| sent.to == STRANGER).count();
    assert_eq!(to_stranger, 0);
}

#[tokio::test]
async fn waits_grow_until_a_hundred_wrong_codes_close_and_only_an_administrator_opens() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new(directory.path(), GENEROUS).await;
    for count in 1..=10 {
        world.wrong().await;
        assert_eq!(world.failures().await, count);
    }
    for (count, wait) in [(10, 30), (11, 60), (12, 120)] {
        let cause = world.wrong().await;
        assert!(matches!(cause, Cause::TooManyFailures(left) if left.as_secs() == wait), "{count}: {cause}");
        world.pass(wait - 1).await;
        let cause = world.wrong().await;
        assert!(matches!(cause, Cause::TooManyFailures(left) if left.as_secs() == 1), "{count}: {cause}");
        world = world.restarted(directory.path(), GENEROUS).await;
        world.pass(1).await;
        world.wrong().await;
        assert_eq!(world.failures().await, count + 1, "one more was looked at");
    }
    // The way from here to the end takes days; the count is moved there by hand.
    let store = rusqlite::Connection::open(directory.path().join("state/vestibule.db")).unwrap();
    store.busy_timeout(Duration::from_secs(5)).unwrap();
    store.execute("UPDATE failure SET count = 97", []).unwrap();
    for count in 98..=100 {
        world.pass(3_600).await;
        world.wrong().await;
        assert_eq!(world.failures().await, count);
    }
    world.pass(30 * 86_400).await;
    let sent = world.messages();
    let challenge = world.start(ALICE).await.unwrap();
    assert_eq!(world.messages(), sent, "nothing is sent to who is closed");
    let refused = world.verify(challenge.id, &world.code()).await.unwrap_err();
    assert!(matches!(refused, Cause::CodesClosed), "{refused}");
    world.store.purge(world.clock.now(), Duration::from_secs(1)).await.unwrap();
    assert_eq!(world.failures().await, 100, "time alone opens nothing");

    let opened =
        world.store.change_user("alice".parse().unwrap(), UserChange::Enable, world.clock.now()).await;
    assert_eq!(opened.unwrap(), Ok(true));
    world.pass(31).await;
    world.sign_in().await;
    assert!(world.messages() > sent);
}

#[tokio::test]
async fn success_alone_forgets_wrong_codes() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new(directory.path(), GENEROUS).await;
    for count in 1..=7 {
        world.wrong().await;
        assert_eq!(world.failures().await, count);
        world.pass(3_600).await;
    }
    let challenge = world.start(ALICE).await.unwrap();
    assert_eq!(world.failures().await, 7, "a new code forgets nothing");
    world.sign_in.resend(challenge.id, Channel::Call, CLIENT).await.unwrap();
    world.sign_in.cancel(challenge.id).await.unwrap();
    assert_eq!(world.failures().await, 7, "nor does the code another way, nor giving up");
    world = world.restarted(directory.path(), GENEROUS).await;
    assert_eq!(world.failures().await, 7, "nor a restart");
    let user = world.store.user(UserKey::Id(UserId(1))).await.unwrap().unwrap();
    assert_eq!(user.phone_verified_at, None);
    world.sign_in().await;
    assert_eq!(world.failures().await, 0);
    let user = world.store.user(UserKey::Id(UserId(1))).await.unwrap().unwrap();
    assert_eq!(user.phone_verified_at, Some(world.clock.now()));
}

#[tokio::test]
async fn a_code_ends_at_its_second_and_a_second_start_does_not_move_it() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(directory.path(), GENEROUS).await;
    let first = world.start(ALICE).await.unwrap();
    world.pass(40).await;
    let second = world.start(ALICE).await.unwrap();
    assert_eq!(second.expires_at, first.expires_at, "the provider's code is the same, and so is its end");
    world.sign_in.cancel(second.id).await.unwrap();
    world.pass(559).await;
    let third = world.start(ALICE).await.unwrap();
    assert_eq!(third.expires_at, first.expires_at);
    assert!(world.verify(third.id, &world.code()).await.is_ok(), "good in its last second");

    let late = world.start(ALICE).await.unwrap();
    let stranger = world.start(STRANGER).await.unwrap();
    world.pass(600).await;
    for challenge in [late, stranger] {
        let cause = world.verify(challenge.id, &world.code()).await.unwrap_err();
        assert!(matches!(cause, Cause::Expired), "{cause}");
    }
}

#[tokio::test]
async fn sessions_end_at_their_second_and_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new(directory.path(), GENEROUS).await;
    let (idle, hour, half_day) = (world.sign_in().await, 3_600, 43_200);
    let find = async |world: &World, signed_in: &SignedIn| {
        let found = world.sessions.find(signed_in.session.id, world.clock.now()).await.unwrap();
        let session = found.map_err(Option::unwrap)?;
        assert_eq!(session.touch(world.clock.now()), Ok(()), "what is found can be used");
        Ok(())
    };
    assert_eq!(find(&world, &idle).await, Ok(()));
    world.pass(hour - 1).await;
    assert_eq!(find(&world, &idle).await, Ok(()));
    world.pass(hour).await;
    assert_eq!(find(&world, &idle).await, Err(SessionEnd::Idle));

    // Used every half hour, by one process after the other.
    world.pass(60).await;
    let busy = world.sign_in().await;
    let began = world.clock.now();
    while world.clock.now() + Duration::from_secs(1_800) < began + Duration::from_secs(half_day) {
        world.pass(1_800).await;
        assert_eq!(find(&world, &busy).await, Ok(()));
        world.sessions.tidy(world.clock.now()).await.unwrap();
        world = world.restarted(directory.path(), GENEROUS).await;
        let opened = world.keys.keyring().open(busy.token.as_bytes(), world.clock.now()).unwrap();
        assert_eq!(opened.session, busy.session.id);
    }
    world.pass(1_799).await;
    assert_eq!(find(&world, &busy).await, Ok(()));
    world.pass(1).await;
    assert_eq!(find(&world, &busy).await, Err(SessionEnd::Expired));
    assert!(world.keys.keyring().open(busy.token.as_bytes(), world.clock.now()).is_err());
    assert_eq!(find(&world, &idle).await, Err(SessionEnd::Expired));
}

/// Another gateway on the same store, with the session in use there too.
async fn beside(world: &World, signed_in: &SignedIn) -> (Sessions, Arc<LiveSession>) {
    let sessions = Sessions::new(world.store.clone(), world.settings.session, world.clock.clone());
    let found = sessions.find(signed_in.session.id, world.clock.now()).await.unwrap().unwrap();
    (sessions, found)
}

/// What a request meets: the session as this thread knows it, or its record once more.
async fn used(sessions: &Sessions, known: &LiveSession, now: Timestamp) -> Result<(), SessionEnd> {
    match known.touch(now) {
        Ok(()) => Ok(()),
        Err(Unusable::Over(end)) => Err(end),
        Err(Unusable::Unread) => {
            let found = sessions.find(known.id(), now).await.unwrap();
            found.map_err(Option::unwrap).map(|session| assert_eq!(session.touch(now), Ok(())))
        }
        Err(Unusable::CutOff) => panic!("the store is there"),
    }
}

#[tokio::test]
async fn a_use_after_a_long_pause_is_known_elsewhere_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(directory.path(), GENEROUS).await;
    let signed_in = world.sign_in().await;
    let (here, at_ours) = beside(&world, &signed_in).await;
    let (there, at_theirs) = beside(&world, &signed_in).await;
    // For half an idle timeout nothing is written but by the next tidying.
    world.pass(1_799).await;
    assert_eq!(at_ours.touch(world.clock.now()), Ok(()));
    let waits = tokio::time::timeout(Duration::from_millis(300), here.settle()).await;
    assert!(waits.is_err(), "nothing to write at once");
    here.tidy(world.clock.now()).await.unwrap();

    world.pass(1_800).await;
    assert_eq!(at_ours.touch(world.clock.now()), Ok(()));
    let settled = tokio::time::timeout(Duration::from_secs(20), here.settle()).await;
    assert!(settled.is_ok(), "it is written down without waiting for a tidying");
    // By the record of before that use it would be idle.
    world.pass(1_800).await;
    assert_eq!(at_theirs.touch(world.clock.now()), Err(Unusable::Unread));
    assert_eq!(used(&there, &at_theirs, world.clock.now()).await, Ok(()));
    assert_eq!(
        there.find(signed_in.session.id, world.clock.now()).await.unwrap().unwrap().judge(world.clock.now()),
        Ok(())
    );
    // Idle everywhere, to the second.
    there.tidy(world.clock.now()).await.unwrap();
    world.pass(3_599).await;
    assert_eq!(
        used(&here, &at_ours, world.clock.now()).await,
        Ok(()),
        "used at the other an hour less a second ago"
    );
    here.tidy(world.clock.now()).await.unwrap();
    world.pass(3_600).await;
    for (sessions, known) in [(&here, &at_ours), (&there, &at_theirs)] {
        assert_eq!(used(sessions, known, world.clock.now()).await, Err(SessionEnd::Idle));
    }
}

#[tokio::test]
async fn tidying_ends_what_is_idle_everywhere_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(directory.path(), GENEROUS).await;
    let (busy, quiet) = (world.sign_in().await, world.sign_in().await);
    let (here, busy_here) = beside(&world, &busy).await;
    let (there, busy_there) = beside(&world, &busy).await;
    let quiet_there = there.find(quiet.session.id, world.clock.now()).await.unwrap().unwrap();
    for _ in 0..8 {
        world.pass(600).await;
        assert_eq!(busy_here.touch(world.clock.now()), Ok(()));
        here.tidy(world.clock.now()).await.unwrap();
    }
    let tunnel = tokio::time::timeout(Duration::from_secs(20), quiet_there.over(&*world.clock));
    let (_, ended) = tokio::join!(there.tidy(world.clock.now()), tunnel);
    assert!(ended.is_ok(), "a tunnel on an idle session ends");
    assert!(quiet_there.has_ended() && !busy_there.has_ended());
    assert_eq!(busy_there.touch(world.clock.now()), Ok(()));
    assert_eq!(used(&there, &quiet_there, world.clock.now()).await, Err(SessionEnd::Idle));
}

#[tokio::test]
async fn the_grace_ends_at_its_second_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(directory.path(), GENEROUS).await;
    let (signed_in, elsewhere) = (world.sign_in().await, world.sign_in().await);
    let (sessions, known) = beside(&world, &signed_in).await;
    let heard = sessions.outage().moment();
    sessions.caught_up(heard);
    world.pass(300).await;
    sessions.outage().begin(&"gone");
    let unknown = sessions.find(elsewhere.session.id, world.clock.now()).await;
    assert!(unknown.is_err(), "nobody is let in meanwhile");
    world.pass(599).await;
    sessions.keep_grace();
    assert_eq!(known.touch(world.clock.now()), Ok(()));
    world.pass(1).await;
    let tunnel = tokio::time::timeout(Duration::from_secs(20), known.over(&*world.clock));
    let (ended, ()) = tokio::join!(tunnel, async { sessions.keep_grace() });
    assert!(ended.is_ok(), "what is under way ends");
    assert_eq!(known.touch(world.clock.now()), Err(Unusable::CutOff));
    assert!(known.has_ended() && known.is_over(world.clock.now()));
    assert!(sessions.find(signed_in.session.id, world.clock.now()).await.is_err());
    sessions.tidy(world.clock.now()).await.unwrap();
    sessions.caught_up(sessions.outage().moment());
    assert_eq!(known.touch(world.clock.now()), Ok(()), "as if nothing had been");
    assert!(sessions.find(elsewhere.session.id, world.clock.now()).await.unwrap().is_ok());

    // Of half a day changes may have been forgotten: records are read anew, and tell.
    sessions.outage().begin(&"gone");
    world
        .store
        .end_sessions(Which::One(signed_in.session.id), SessionEnd::Revoked, world.clock.now())
        .await
        .unwrap();
    world.pass(12 * 3_600 - 1_000).await;
    sessions.caught_up(sessions.outage().moment());
    assert!(!known.has_ended(), "less than that is told by the changes");
    sessions.outage().begin(&"gone");
    world.pass(12 * 3_600).await;
    sessions.caught_up(sessions.outage().moment());
    assert!(known.has_ended());
}

#[tokio::test]
async fn a_session_ended_while_the_store_is_away_does_not_come_back_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(directory.path(), GENEROUS).await;
    let signed_in = world.sign_in().await;
    let (sessions, known) = beside(&world, &signed_in).await;
    sessions.outage().begin(&"gone");
    let (id, at) = (signed_in.session.id, world.clock.now());
    assert_eq!(sessions.end(id, SessionEnd::SignedOut, at).await.unwrap(), Ended::Unrecorded);
    assert_eq!(known.touch(at), Err(Unusable::Over(SessionEnd::SignedOut)));
    sessions.tidy(at).await.unwrap();
    sessions.caught_up(sessions.outage().moment());
    // It is there again, and does not know yet.
    assert_eq!(world.store.session(id).await.unwrap().unwrap().ended, None);
    assert_eq!(sessions.find(id, at).await.unwrap().unwrap_err(), Some(SessionEnd::SignedOut));
    assert!(sessions.is_behind());
    sessions.catch_up().await.unwrap();
    assert!(!sessions.is_behind());
    assert_eq!(world.store.session(id).await.unwrap().unwrap().ended, Some(SessionEnd::SignedOut));
    assert_eq!(sessions.find(id, at).await.unwrap().unwrap_err(), Some(SessionEnd::SignedOut));
}

#[tokio::test]
async fn what_fails_before_anything_was_sent_is_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(directory.path(), GENEROUS).await;
    let break_user = "BEGIN UPDATE \"user\" SET phone_number = 'nonsense'; END";
    let mend_user = format!("DROP TRIGGER broken; UPDATE \"user\" SET phone_number = '{ALICE}'");
    // Once the challenge stands, the user cannot be read any more.
    world.sql(&format!("CREATE TRIGGER broken AFTER INSERT ON challenge {break_user}"));
    assert!(matches!(world.start(ALICE).await, Err(Cause::Store(_))));
    world.sql(&mend_user);
    let challenge = world.start(ALICE).await.unwrap();
    assert_eq!(world.messages(), 1, "the second does not wait for what was never sent");
    world.pass(60).await;
    let resend = || world.sign_in.resend(challenge.id, Channel::Sms, CLIENT);
    world.sql(&format!("CREATE TRIGGER broken AFTER UPDATE OF sends ON challenge {break_user}"));
    assert!(matches!(resend().await.unwrap_err().cause, Cause::Store(_)));
    world.sql(&mend_user);
    resend().await.unwrap();
    assert_eq!(world.messages(), 2, "nor does another code");
}

#[tokio::test]
async fn a_code_is_sent_though_the_audit_trail_has_it_later() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(directory.path(), GENEROUS).await;
    world.sql("ALTER TABLE audit RENAME TO gone");
    let challenge = world.start(ALICE).await.unwrap();
    world.pass(60).await;
    world.sign_in.resend(challenge.id, Channel::Sms, CLIENT).await.unwrap();
    assert_eq!(world.messages(), 2);
}

#[tokio::test]
async fn a_code_that_could_not_be_checked_is_no_failure_though_no_line_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(directory.path(), GENEROUS).await;
    let challenge = world.start(ALICE).await.unwrap();
    let (clock, sent) = (world.clock.clone(), world.sent.clone());
    drop(world);
    let world = World::open(directory.path(), GENEROUS, "http://127.0.0.1:1", clock, sent).await;
    world.sql("ALTER TABLE audit RENAME TO gone");
    let cause = world.verify(challenge.id, &world.code()).await.unwrap_err();
    assert!(matches!(cause, Cause::NotChecked(_)), "{cause}");
    assert_eq!(world.failures().await, 0);
}
