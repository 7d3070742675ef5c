//! The operator's directory: files in it stand before the built-in ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why the pages cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A file cannot be read.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    File(PathBuf, io::Error),
    /// A template does not compile.
    #[error("{0}: {1:#}")]
    Template(String, minijinja::Error),
    /// A sentence that no page has.
    #[error("languages/en.toml: no page has a sentence {0}; see the built-in catalogue for the keys")]
    UnknownSentence(String),
    /// A catalogue is not TOML.
    #[error("{0}: {1}")]
    Catalogue(String, Box<toml::de::Error>),
}

/// The operator's file of that name, when there is one.
pub(super) fn replacement(overrides: Option<&Path>, name: &str) -> Result<Option<String>, TemplateError> {
    let Some(path) = overrides.map(|directory| directory.join(name)) else { return Ok(None) };
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TemplateError::File(path, error)),
    }
}
