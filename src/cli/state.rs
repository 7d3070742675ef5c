//! What the commands that work on the store have in common.

use std::path::Path;
use std::time::Duration;

use crate::access::keys::{self, KeysError};
use crate::app::{self, State};
use crate::config::{Place, Purpose, Settings};
use crate::domain::event::{Event, What};
use crate::domain::time::Timestamp;
use crate::store::Store;

use super::Failure;
use crate::clock::{Clock as _, SystemClock};

/// An open store, and a runtime to wait for it.
pub(super) struct Work {
    pub(super) settings: Settings,
    pub(super) state: State,
    runtime: tokio::runtime::Runtime,
}

/// A command may work on all there is, a million of them; whoever waits for it can see that, and stop it.
const PATIENCE: Duration = Duration::from_secs(600);

impl Work {
    /// Opens the store of a configuration, or makes it, to change something in it.
    pub(super) fn open(config: &Path) -> Result<Self, Failure> {
        let work = Self::on(Settings::load(config, Purpose::Administer)?)?;
        // Under another master key, what is written would be no good to any gateway.
        if !keys::opens(&work.state.master, &work.wait(work.store().signing_keys())?) {
            return Err(app::of_the_keys(&work.settings, KeysError::Sealed).into());
        }
        Ok(work)
    }

    /// Opens the store that is there, to look at it.
    pub(super) fn look(config: &Path) -> Result<Self, Failure> {
        let settings = Settings::load(config, Purpose::Administer)?;
        if let Place::Sqlite(file) = &settings.store.place
            && matches!(file.try_exists(), Ok(false))
        {
            let text = "there is no store yet at {}; the gateway makes one when it starts, and `vestibule user add` does";
            return Err(Failure::Runtime(text.replace("{}", &file.display().to_string())));
        }
        Self::on(settings)
    }

    fn on(settings: Settings) -> Result<Self, Failure> {
        let State { store, master } = State::open(&settings)?;
        let state = State { store: store.with_patience(PATIENCE), master };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Runtime(error.to_string()))?;
        Ok(Self { settings, state, runtime })
    }

    /// Waits for the store.
    pub(super) fn wait<T, E>(&self, answer: impl Future<Output = Result<T, E>>) -> Result<T, Failure>
    where
        Failure: From<E>,
    {
        Ok(self.runtime.block_on(answer)?)
    }

    pub(super) fn store(&self) -> &Store {
        &self.state.store
    }

    pub(super) fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// Writes down what an administrator did.
    pub(super) fn record(&self, what: What, user: Option<String>, detail: String) -> Result<(), Failure> {
        let event = Event {
            at: self.now(),
            what,
            reference: None,
            user,
            client: "command line".to_owned(),
            detail,
            message: None,
        };
        self.wait(self.store().append_audit(vec![event]))
    }
}
