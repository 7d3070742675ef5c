//! Moving all of one store into another, whichever databases they are.
//!
//! Rows go in the order of their keys, some thousand in a transaction that also notes in the target how far it came
//! (`moving`). A move that was cut off goes on from there. Until the last transaction, which removes the note, nobody else
//! opens the target.

use std::collections::HashMap;

use super::audit;
use super::chain::{self, Chain, StoredHead};
use super::engine::Dialect;
use super::sql::{Row, Transaction, Value, values};
use super::{Store, StoreError};
use crate::domain::event::{Event, What};
use crate::domain::time::Timestamp;

/// What stands in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Text,
    Number,
    Truth,
    Bytes,
}
use Holds::{Bytes, Number, Text, Truth};

/// A table with its columns, those of its key first.
struct Table {
    name: &'static str,
    key: usize,
    columns: &'static [(&'static str, Holds)],
}

/// All tables; `last_change` and `audit_chain`, which have one row each, go with the last transaction.
const TABLES: &[Table] = &[
    Table {
        name: "user",
        key: 1,
        columns: &[
            ("id", Number),
            ("name", Text),
            ("phone_number", Text),
            ("phone_verified_at", Number),
            ("two_factor_enabled", Truth),
            ("disabled", Truth),
            ("created_at", Number),
        ],
    },
    Table {
        name: "challenge",
        key: 1,
        columns: &[
            ("id", Text),
            ("reference", Text),
            ("user_id", Number),
            ("user_name", Text),
            ("subject", Text),
            ("recipient", Text),
            ("return_to", Text),
            ("channel", Text),
            ("created_at", Number),
            ("expires_at", Number),
            ("sent_at", Number),
            ("sends", Number),
            ("checks", Number),
            ("max_checks", Number),
            ("code_length", Number),
            ("state", Text),
            ("delivery", Text),
            ("provider", Text),
            ("handle", Text),
            ("prospect", Text),
            ("last", Truth),
            ("landline", Truth),
            ("released", Truth),
        ],
    },
    Table {
        name: "orphan",
        key: 2,
        columns: &[("provider", Text), ("handle", Text), ("reference", Text), ("due_at", Number)],
    },
    Table { name: "spend", key: 2, columns: &[("key", Text), ("at", Number), ("times", Number)] },
    Table { name: "failure", key: 1, columns: &[("subject", Text), ("count", Number), ("last_at", Number)] },
    Table {
        name: "session",
        key: 1,
        columns: &[
            ("id", Text),
            ("user_id", Number),
            ("user_name", Text),
            ("method", Text),
            ("auth_time", Number),
            ("expires_at", Number),
            ("last_seen_at", Number),
            ("ended", Text),
            ("client", Text),
            ("follows", Text),
        ],
    },
    Table {
        name: "change",
        key: 1,
        columns: &[("number", Number), ("at", Number), ("kind", Text), ("subject", Text)],
    },
    Table {
        name: "signing_key",
        key: 1,
        columns: &[("kid", Text), ("sealed", Bytes), ("created_at", Number), ("retired_at", Number)],
    },
    Table {
        name: "audit",
        key: 1,
        columns: &[
            ("number", Number),
            ("at", Number),
            ("what", Text),
            ("reference", Text),
            ("user_name", Text),
            ("client", Text),
            ("detail", Text),
            ("provider", Text),
            ("channel", Text),
            ("handle", Text),
            ("recipient", Text),
            ("outcome", Text),
            ("hash", Bytes),
        ],
    },
    Table {
        name: "webhook",
        key: 1,
        columns: &[
            ("name", Text),
            ("delivered", Number),
            ("failing_since", Number),
            ("tries", Number),
            ("due_at", Number),
            ("holder", Text),
            ("held_until", Number),
        ],
    },
    Table {
        name: "emergency_code",
        key: 1,
        columns: &[
            ("hash", Text),
            ("user_id", Number),
            ("reference", Text),
            ("made_at", Number),
            ("expires_at", Number),
            ("lifetime", Number),
        ],
    },
    Table { name: "budget", key: 1, columns: &[("key", Text), ("count", Number), ("forget_at", Number)] },
    Table {
        name: "conversion",
        key: 2,
        columns: &[("minute", Number), ("subject", Text), ("sent", Number), ("entered", Truth)],
    },
    Table { name: "closure", key: 1, columns: &[("guard", Text), ("until", Number)] },
    Table {
        name: "line",
        key: 1,
        columns: &[
            ("number", Text),
            ("kind", Text),
            ("kind_at", Number),
            ("swapped", Truth),
            ("swapped_at", Number),
        ],
    },
];

/// Numbers that a database gives by itself, and must not give again.
const COUNTERS: [(&str, &str); 1] = [("user", "id")];

/// Rows of one transaction.
const BATCH: usize = 4_000;
/// Values of one statement; SQLite takes 32766.
const VALUES: usize = 30_000;

type Values = Vec<Value<'static>>;

/// How far a move is.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Whether rows are compared, after all of them were written.
    pub comparing: bool,
    /// The table.
    pub table: &'static str,
    /// Rows so far.
    pub done: u64,
    /// Of so many.
    pub of: u64,
}

/// One table that was moved, and its rows.
pub type Moved = (&'static str, u64);

/// Moves all of a store into an empty one, or goes on with that. No gateway may run on either. With `start_over` what an
/// earlier move has written is thrown away first.
pub async fn transfer(
    (from, source_name): (&Store, &str),
    to: &Store,
    start_over: bool,
    now: Timestamp,
    tell: &mut dyn FnMut(Step),
) -> Result<Vec<Moved>, StoreError> {
    let state = from.read(|t| state(t)).await?;
    let mut reached = begin(to, state.clone(), start_over).await?;
    let counts =
        from.read(|t| TABLES.iter().map(|table| count(t, table)).collect::<Result<Vec<_>, _>>()).await?;
    for (table, of) in TABLES.iter().zip(&counts) {
        let (mut after, mut done) = reached.remove(table.name).unwrap_or_default();
        loop {
            tell(Step { comparing: false, table: table.name, done, of: *of });
            let rows = read(from, table, after.clone()).await?;
            let Some(last) = rows.last() else { break };
            (after, done) = (Some(last[..table.key].to_vec()), done + rows.len() as u64);
            let note = (noted(after.as_deref().unwrap_or_default()), done);
            to.write(move |t| write(t, table, &rows, &note)).await?;
        }
    }
    for (table, of) in TABLES.iter().zip(&counts) {
        compare(from, to, table, *of, tell).await?;
    }
    let counters = read_counters(from).await?;
    let last_change = from.last_change().await?;
    let head = from.read(|t| chain::stored_head(t)).await?;
    let chain = to.chain()?.clone();
    if from.read(|t| self::state(t)).await? != state {
        return Err(used_meanwhile());
    }
    let arrived = Event {
        at: now,
        what: What::StoreMoved,
        reference: None,
        user: None,
        client: "command line".to_owned(),
        detail: format!("from {source_name}"),
        message: None,
    };
    let dialect = to.engine.dialect;
    to.write(move |t| finish(t, dialect, (&counters, last_change), (&head, &chain), &arrived)).await?;
    Ok(TABLES.iter().map(|table| table.name).zip(counts).collect())
}

fn used_meanwhile() -> StoreError {
    StoreError::Unusable(
        "the store that is moved was used since the move began; keep gateways off it, and move with --start-over".to_owned(),
    )
}

/// In a few numbers what changes whenever a gateway or a command does something.
fn state(t: &mut dyn Transaction) -> Result<String, StoreError> {
    let keys =
        t.all("SELECT kid FROM signing_key ORDER BY kid", values![], |row| row.get::<String>("kid"))?;
    let numbers = "SELECT (SELECT number FROM last_change) AS changes, \
                   (SELECT coalesce(max(number), 0) FROM audit) AS audited, \
                   (SELECT count(*) FROM \"user\") AS users, (SELECT count(*) FROM session) AS sessions, \
                   (SELECT count(*) FROM challenge) AS challenges, (SELECT count(*) FROM spend) AS spends";
    let read = |row: &dyn Row| {
        ["changes", "audited", "users", "sessions", "challenges", "spends"]
            .iter()
            .map(|column| Ok(row.get::<i64>(column)?.to_string()))
            .collect::<Result<Vec<_>, StoreError>>()
    };
    let numbers = t.one(numbers, values![], read)?.unwrap_or_default();
    Ok(format!("{} {}", keys.join(","), numbers.join(" ")))
}

/// How far each table came: the key of its last row, and how many rows.
type Reached = HashMap<String, (Option<Values>, u64)>;

async fn begin(to: &Store, state: String, start_over: bool) -> Result<Reached, StoreError> {
    let dialect = to.engine.dialect;
    to.write(move |t| {
        if is_being_filled(t, dialect)? {
            let source = "SELECT reached FROM moving WHERE name = ''";
            let source = t.one(source, values![], |row| row.get::<String>("reached"))?;
            if source.as_ref() == Some(&state) {
                return reached(t);
            }
            if !start_over {
                return Err(used_meanwhile());
            }
            for table in TABLES {
                t.execute(&format!("DELETE FROM \"{}\"", table.name), values![])?;
            }
            t.execute("DELETE FROM moving", values![])?;
        } else {
            refuse_occupied(t, dialect)?;
            let note =
                "CREATE TABLE moving (name TEXT PRIMARY KEY, reached TEXT NOT NULL, moved BIGINT NOT NULL)";
            t.execute(note, values![])?;
        }
        t.execute("INSERT INTO moving (name, reached, moved) VALUES ('', ?, 0)", values![&state])?;
        Ok(Reached::new())
    })
    .await
}

fn is_being_filled(t: &mut dyn Transaction, dialect: Dialect) -> Result<bool, StoreError> {
    let question = match dialect {
        Dialect::Sqlite => "SELECT count(*) > 0 AS found FROM sqlite_schema WHERE name = 'moving'",
        Dialect::Postgres => "SELECT to_regclass('moving') IS NOT NULL AS found",
    };
    Ok(t.one(question, values![], |row| row.get("found"))?.unwrap_or(false))
}

/// Nothing is ever moved over what is there.
fn refuse_occupied(t: &mut dyn Transaction, dialect: Dialect) -> Result<(), StoreError> {
    let came = "SELECT at, detail FROM audit WHERE what = ? ORDER BY number DESC LIMIT 1";
    let came = t.one(came, values![What::StoreMoved.as_str()], |row| {
        Ok((row.get::<Timestamp>("at")?, row.get::<String>("detail")?))
    })?;
    if let Some((at, from)) = came {
        let at = at.to_jiff();
        let empty = match dialect {
            Dialect::Sqlite => "remove the file",
            Dialect::Postgres => "empty the database (DROP DATABASE, CREATE DATABASE)",
        };
        return Err(StoreError::Unusable(format!(
            "it holds an installation already, which was moved there {from} on {at}, whole; what was changed in the \
             source since is not in it; to move again, {empty} first"
        )));
    }
    for table in TABLES {
        if count(t, table)? > 0 {
            return Err(StoreError::Unusable(
                "it holds an installation already; move into an empty database".to_owned(),
            ));
        }
    }
    Ok(())
}

fn reached(t: &mut dyn Transaction) -> Result<Reached, StoreError> {
    let read = |row: &dyn Row| {
        let name: String = row.get("name")?;
        let table = TABLES.iter().find(|table| table.name == name).ok_or(StoreError::Corrupt("moving"))?;
        let key = table.noted_key(&row.get::<String>("reached")?).ok_or(StoreError::Corrupt("moving"))?;
        let moved = u64::try_from(row.get::<i64>("moved")?).unwrap_or_default();
        Ok((name, (Some(key), moved)))
    };
    Ok(t.all("SELECT * FROM moving WHERE name <> ''", values![], read)?.into_iter().collect())
}

fn count(t: &mut dyn Transaction, table: &Table) -> Result<u64, StoreError> {
    let question = format!("SELECT count(*) AS rows FROM \"{}\"", table.name);
    let rows = t.one(&question, values![], |row| row.get::<i64>("rows"))?.unwrap_or_default();
    Ok(u64::try_from(rows).unwrap_or_default())
}

async fn read(from: &Store, table: &'static Table, after: Option<Values>) -> Result<Vec<Values>, StoreError> {
    from.read(move |t| page(t, table, after.as_deref(), BATCH)).await
}

/// The first row of each table.
pub(super) fn sample(t: &mut dyn Transaction) -> Result<(), StoreError> {
    for table in TABLES {
        page(t, table, None, 1)?;
    }
    chain::stored_head(t)?;
    t.one("SELECT number FROM last_change", values![], |row| row.get::<i64>("number")).map(drop)
}

/// The next rows after a key.
fn page(
    t: &mut dyn Transaction,
    table: &Table,
    after: Option<&[Value<'static>]>,
    limit: usize,
) -> Result<Vec<Values>, StoreError> {
    let key = table.columns[..table.key].iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let filter = after.map_or_else(String::new, |values| {
        let marks = vec!["?"; values.len()].join(", ");
        format!("WHERE ({key}) > ({marks})")
    });
    let (columns, name) = (table.list(), table.name);
    let question = format!("SELECT {columns} FROM \"{name}\" {filter} ORDER BY {key} LIMIT {limit}");
    t.all(&question, after.unwrap_or_default(), |row| table.read(row))
}

/// Writes rows, and notes the key of the last of them.
fn write(
    t: &mut dyn Transaction,
    table: &Table,
    rows: &[Values],
    (key, moved): &(String, u64),
) -> Result<(), StoreError> {
    let row = format!("({})", vec!["?"; table.columns.len()].join(", "));
    for some in rows.chunks(VALUES / table.columns.len()) {
        let (name, columns, marks) = (table.name, table.list(), vec![row.as_str(); some.len()].join(", "));
        let statement = format!("INSERT INTO \"{name}\" ({columns}) VALUES {marks}");
        t.execute(&statement, &some.concat())?;
    }
    let note = "INSERT INTO moving (name, reached, moved) VALUES (?, ?, ?) \
                ON CONFLICT (name) DO UPDATE SET reached = excluded.reached, moved = excluded.moved";
    let moved = i64::try_from(*moved).unwrap_or(i64::MAX);
    t.execute(note, values![table.name, key, moved]).map(drop)
}

/// Row by row the same on both sides, and none more.
async fn compare(
    from: &Store,
    to: &Store,
    table: &'static Table,
    of: u64,
    tell: &mut dyn FnMut(Step),
) -> Result<(), StoreError> {
    let (mut after, mut done) = (None, 0);
    loop {
        tell(Step { comparing: true, table: table.name, done, of });
        let rows = read(from, table, after.clone()).await?;
        if rows != read(to, table, after).await? {
            return Err(StoreError::Unusable(format!(
                "what was written to table {} is not what was read, after {done} rows; move with --start-over",
                table.name
            )));
        }
        let Some(last) = rows.last() else { return Ok(()) };
        (after, done) = (Some(last[..table.key].to_vec()), done + rows.len() as u64);
    }
}

/// The greatest number that each counter gave.
async fn read_counters(from: &Store) -> Result<Vec<i64>, StoreError> {
    let dialect = from.engine.dialect;
    from.read(move |t| {
        let one = |(table, column): &(&str, &str)| {
            let question = match dialect {
                Dialect::Sqlite => format!("SELECT seq AS given FROM sqlite_sequence WHERE name = '{table}'"),
                Dialect::Postgres => format!("SELECT last_value AS given FROM {table}_{column}_seq"),
            };
            Ok(t.one(&question, values![], |row| row.get("given"))?.unwrap_or(0))
        };
        COUNTERS.iter().map(one).collect()
    })
    .await
}

/// From here on it is a store like any other.
fn finish(
    t: &mut dyn Transaction,
    dialect: Dialect,
    (counters, last_change): (&[i64], i64),
    (head, chain): (&StoredHead, &Chain),
    arrived: &Event,
) -> Result<(), StoreError> {
    for ((table, column), given) in COUNTERS.iter().zip(counters) {
        match dialect {
            Dialect::Sqlite => {
                t.execute("DELETE FROM sqlite_sequence WHERE name = ?", values![*table])?;
                t.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", values![*table, *given])?;
            }
            Dialect::Postgres => {
                let set = format!("SELECT setval('{table}_{column}_seq', ?)");
                t.one(&set, values![(*given).max(1)], |_| Ok(()))?;
            }
        }
    }
    t.execute("UPDATE last_change SET number = ?", values![last_change])?;
    chain::put_head(t, head)?;
    audit::append(t, chain, std::slice::from_ref(arrived))?;
    t.execute("DROP TABLE moving", values![]).map(drop)
}

/// A key as text.
fn noted(key: &[Value<'_>]) -> String {
    let part = |value: &Value<'_>| match value {
        Value::Number(number) => (*number).into(),
        Value::Text(text) => text.as_ref().into(),
        // No key has such a part.
        Value::Null | Value::Truth(_) | Value::Bytes(_) => serde_json::Value::Null,
    };
    serde_json::Value::Array(key.iter().map(part).collect()).to_string()
}

impl Table {
    fn list(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    fn read(&self, row: &dyn Row) -> Result<Values, StoreError> {
        let read = |(place, (name, holds)): (usize, &(&'static str, Holds))| {
            let value = holds.read(row.value(name)?).ok_or(StoreError::Corrupt(name))?;
            Ok(if place < self.key { value } else { without_nul(value) })
        };
        self.columns.iter().enumerate().map(read).collect()
    }

    fn noted_key(&self, note: &str) -> Option<Values> {
        let parts: Vec<serde_json::Value> = serde_json::from_str(note).ok()?;
        let part = |part: &serde_json::Value| match part.as_str() {
            Some(text) => Some(Value::from(text.to_owned())),
            None => part.as_i64().map(Value::Number),
        };
        parts.iter().map(part).collect::<Option<Values>>().filter(|values| values.len() == self.key)
    }
}

/// PostgreSQL has no NUL in texts; what it has instead is the same on both sides.
fn without_nul(value: Value<'static>) -> Value<'static> {
    if let Value::Text(text) = &value
        && text.contains('\0')
    {
        return Value::from(text.replace('\0', "\u{fffd}"));
    }
    value
}

impl Holds {
    /// The value as both databases have it; none when it is something else.
    fn read(self, value: Value<'_>) -> Option<Value<'static>> {
        match (self, value) {
            (_, Value::Null) => Some(Value::Null),
            (Truth, Value::Number(number)) => Some(Value::Truth(number != 0)),
            (Text, value @ Value::Text(_))
            | (Number, value @ Value::Number(_))
            | (Truth, value @ Value::Truth(_))
            | (Bytes, value @ Value::Bytes(_)) => Some(value.into_owned()),
            (Text | Number | Truth | Bytes, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table or column that a later schema adds must be moved, too.
    #[test]
    fn every_column_of_the_schema_is_moved() {
        let store = rusqlite::Connection::open_in_memory().unwrap();
        for step in crate::store::sqlite::MIGRATIONS {
            store.execute_batch(step).unwrap();
        }
        let names = |question: &str| -> Vec<String> {
            let mut asked = store.prepare(question).unwrap();
            asked.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let mut tables = names(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
        );
        tables.retain(|name| name != "last_change" && name != "audit_chain");
        let mut ours: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
        ours.sort_unstable();
        assert_eq!(ours, tables);
        for table in TABLES {
            let mut columns =
                names(&format!("SELECT name FROM pragma_table_info('{}') ORDER BY name", table.name));
            let mut ours: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
            ours.sort_unstable();
            columns.sort();
            assert_eq!(ours, columns, "{}", table.name);
            let mut key = names(&format!(
                "SELECT name FROM pragma_table_info('{}') WHERE pk > 0 ORDER BY pk",
                table.name
            ));
            key.retain(|name| table.columns[..table.key].iter().any(|(ours, _)| ours == name));
            assert_eq!(key.len(), table.key, "{}", table.name);
        }
    }

    #[test]
    fn a_key_is_read_as_it_was_noted() {
        let table = TABLES.iter().find(|table| table.name == "spend").unwrap();
        let key = vec![Value::from("a \"key\", ü".to_owned()), Value::Number(-5)];
        assert_eq!(table.noted_key(&noted(&key)), Some(key));
        assert_eq!(table.noted_key("[1]"), None);
        assert_eq!(table.noted_key("nonsense"), None);
    }
}
