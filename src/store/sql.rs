//! One transaction in SQL, whichever database runs it.
//!
//! The statements are written once, in what SQLite and PostgreSQL both understand; parameters are `?1`, `?2`, …

use std::borrow::Cow;

use super::StoreError;
use crate::domain::challenge::Subject;
use crate::domain::time::Timestamp;

/// What statements are given, and what columns hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Null,
    Number(i64),
    Truth(bool),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
}

impl Value<'_> {
    /// The same, holding what it held on to.
    pub(super) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Number(number) => Value::Number(number),
            Self::Truth(truth) => Value::Truth(truth),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
        }
    }
}

/// The parameters of a statement.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::store::sql::Value::from($value)),*] };
}
pub(super) use values;

/// A transaction under way. What it did is seen by others once it is committed, or never.
pub(super) trait Transaction {
    /// Runs a statement; how many rows it wrote.
    fn execute(&mut self, statement: &str, values: &[Value<'_>]) -> Result<usize, StoreError>;

    /// Runs a question and shows each row.
    fn each(
        &mut self,
        statement: &str,
        values: &[Value<'_>],
        see: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Waits until nobody else has these, and has them until the end. What is read after it is newer than whatever their
    /// last holders wrote. Where one transaction writes at a time there is nothing to do.
    fn lock(&mut self, locks: &[Lock<'_>]) -> Result<(), StoreError>;

    /// The other gateways are told, once this is committed, that there is a change to read.
    fn tell(&mut self) -> Result<(), StoreError>;

    /// Takes back all that was done so far.
    fn undo(&mut self) -> Result<(), StoreError>;
}

impl dyn Transaction + '_ {
    /// All rows of a question.
    pub(super) fn all<T>(
        &mut self,
        statement: &str,
        values: &[Value<'_>],
        read: impl Fn(&dyn Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut list = Vec::new();
        self.each(statement, values, &mut |row| {
            list.push(read(row)?);
            Ok(())
        })?;
        Ok(list)
    }

    /// The first row of a question, or none.
    pub(super) fn one<T>(
        &mut self,
        statement: &str,
        values: &[Value<'_>],
        read: impl Fn(&dyn Row) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.all(statement, values, read)?.into_iter().next())
    }
}

/// What two transactions must not both be working on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock<'a> {
    /// The challenges, failures and account of a subject.
    Subject(&'a Subject),
    /// Something counted.
    Spend(&'a str),
    /// Budgets of the gateway and what closes sending.
    Sending,
    /// Names and numbers of users.
    Users,
    /// The signing keys.
    Keys,
    /// When sessions were last used.
    Touch,
    /// Forgetting what is over.
    Purge,
    /// The end of the audit trail; taken last.
    Audit,
}

impl Lock<'_> {
    /// A text that no other lock has.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Subject(subject) => format!("subject {}", subject.as_str()),
            Self::Spend(key) => format!("spend {key}"),
            Self::Sending => "sending".to_owned(),
            Self::Users => "users".to_owned(),
            Self::Keys => "keys".to_owned(),
            Self::Touch => "touch".to_owned(),
            Self::Purge => "purge".to_owned(),
            Self::Audit => "audit".to_owned(),
        }
    }
}

/// A row of an answer.
pub(super) trait Row {
    /// What stands in a column.
    fn value(&self, column: &'static str) -> Result<Value<'_>, StoreError>;
}

impl dyn Row + '_ {
    /// A column as what it must be; anything else is corrupt.
    pub(super) fn get<T: Read>(&self, column: &'static str) -> Result<T, StoreError> {
        T::read(self.value(column)?).ok_or(StoreError::Corrupt(column))
    }
}

/// What a column can be read as.
pub(super) trait Read: Sized {
    /// `None` when the column holds something else.
    fn read(value: Value<'_>) -> Option<Self>;
}

impl<T: Read> Read for Option<T> {
    fn read(value: Value<'_>) -> Option<Self> {
        if value == Value::Null { Some(None) } else { T::read(value).map(Some) }
    }
}

impl Read for String {
    fn read(value: Value<'_>) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.into_owned()) } else { None }
    }
}

impl Read for Vec<u8> {
    fn read(value: Value<'_>) -> Option<Self> {
        if let Value::Bytes(bytes) = value { Some(bytes.into_owned()) } else { None }
    }
}

impl Read for bool {
    fn read(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Truth(truth) => Some(truth),
            // SQLite keeps truth as a number.
            Value::Number(number) => Some(number != 0),
            Value::Null | Value::Text(_) | Value::Bytes(_) => None,
        }
    }
}

impl Read for i64 {
    fn read(value: Value<'_>) -> Option<Self> {
        if let Value::Number(number) = value { Some(number) } else { None }
    }
}

impl Read for u32 {
    fn read(value: Value<'_>) -> Option<Self> {
        i64::read(value)?.try_into().ok()
    }
}

impl Read for u8 {
    fn read(value: Value<'_>) -> Option<Self> {
        i64::read(value)?.try_into().ok()
    }
}

impl Read for Timestamp {
    fn read(value: Value<'_>) -> Option<Self> {
        i64::read(value).map(Self::from_unix)
    }
}

impl<'a, T: Into<Self>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u8> for Value<'_> {
    fn from(number: u8) -> Self {
        Self::Number(number.into())
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(at: Timestamp) -> Self {
        Self::Number(at.unix())
    }
}
