//! `vestibule serve`

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Config, Failure, log};
use crate::app::{Gateway, HandedOver, HandoverError, Office, Predecessor, Signal, hand_over, reload};
use crate::config::{Loaded, Purpose};
use crate::server::passed::Passed;
use crate::service_manager;
use crate::store::Use;

/// What the service manager shows until there is more to tell.
const SERVING: &str = "serving";

pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let office = Office::open()?;
    // As it is called now: an upgrade puts another file in its place.
    let program =
        std::env::current_exe().map_err(|error| Failure::Runtime(format!("this program: {error}")))?;
    let mut running = Loaded::load(&config.config, Purpose::Serve)?;
    log::start(&running.settings.log)?;
    let mut passed = Passed::from_environment();
    let mut predecessor = Predecessor::of(&mut passed);
    if let Some(Err(error)) = predecessor.as_mut().map(Predecessor::ask_for_the_store) {
        return Err(Failure::Runtime(format!("the process before this one does not hand over: {error}")));
    }
    let use_ = if predecessor.is_some() { Use::TakeOver } else { Use::Serve };
    let mut gateway = Gateway::start(office, &running.settings, &mut passed, use_)?;
    gateway.is_configured(running.outline.hash());
    for address in &gateway.addresses {
        tracing::info!(address, "listening");
    }
    if let Some(predecessor) = predecessor {
        predecessor.may_go();
    }
    service_manager::ready(SERVING);
    loop {
        match gateway.wait() {
            Signal::End => break,
            Signal::Reload => reload_from(&config.config, &mut gateway, &mut running),
            Signal::HandOver => match hand_over_to(&program, &config.config, &mut gateway) {
                Ok(HandedOver::EndsInstead) => break,
                Ok(HandedOver::Yes) => {
                    tracing::info!("another process has taken over: finishing what is under way");
                    gateway.retire();
                    return Ok(());
                }
                Err(error) if error.is_the_end() => {
                    gateway.stop();
                    return Err(Failure::Runtime(error.to_string()));
                }
                Err(error) => tracing::error!(%error, "nobody took over; the gateway goes on"),
            },
        }
    }
    tracing::info!("stopping: finishing what is under way");
    service_manager::stopping();
    gateway.stop();
    Ok(())
}

/// Has this program, as it is installed now, take over.
fn hand_over_to(program: &Path, file: &Path, gateway: &mut Gateway) -> Result<HandedOver, HandoverError> {
    tracing::info!(program = %program.display(), "another process is to take over");
    let mut next = Command::new(program);
    next.arg("serve").arg("--config").arg(file).stdin(Stdio::null());
    hand_over(gateway, next)
}

/// Reads the configuration again, and tells the log what came of it.
fn reload_from(file: &Path, gateway: &mut Gateway, running: &mut Loaded) {
    service_manager::reloading();
    match reload(gateway, running, file) {
        Ok(reloaded) => {
            for difference in &reloaded.changed {
                tracing::info!(%difference, "changed");
            }
            for difference in &reloaded.waiting {
                tracing::warn!(%difference, "changes with the next start only: systemctl restart vestibule");
            }
            let (changed, waiting) = (reloaded.changed.len(), reloaded.waiting.len());
            tracing::info!(
                configuration = running.outline.hash(),
                changed,
                waiting,
                "the configuration was reloaded"
            );
        }
        Err(error) => {
            tracing::error!(%error, "the configuration was not reloaded; the gateway goes on with the one it has");
        }
    }
    service_manager::ready(SERVING);
}
