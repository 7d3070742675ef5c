//! Our values as PostgreSQL has them on the wire.

use std::error::Error;

use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::store::StoreError;
use crate::store::sql::{Row, Value};

type Converted<T> = Result<T, Box<dyn Error + Sync + Send>>;

impl ToSql for Value<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Converted<IsNull> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Truth(truth) => truth.to_sql_checked(ty, out),
            // It has no NUL in texts.
            Self::Text(text) if text.contains('\0') => text.replace('\0', "\u{fffd}").to_sql_checked(ty, out),
            Self::Text(text) => text.as_ref().to_sql_checked(ty, out),
            Self::Bytes(bytes) => bytes.as_ref().to_sql_checked(ty, out),
            // A number is as wide as what it meets in the statement.
            Self::Number(number) if *ty == Type::INT4 => i32::try_from(*number)?.to_sql(ty, out),
            Self::Number(number) => number.to_sql_checked(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A column as it came.
struct Column<'a>(Value<'a>);

impl<'a> FromSql<'a> for Column<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Converted<Self> {
        Ok(Self(match *ty {
            Type::BOOL => Value::Truth(bool::from_sql(ty, raw)?),
            Type::INT4 => Value::Number(i32::from_sql(ty, raw)?.into()),
            Type::INT8 => Value::Number(i64::from_sql(ty, raw)?),
            Type::BYTEA => Value::Bytes(raw.into()),
            _ => Value::from(<&str>::from_sql(ty, raw)?),
        }))
    }

    fn from_sql_null(_: &Type) -> Converted<Self> {
        Ok(Self(Value::Null))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::BOOL | Type::INT4 | Type::INT8 | Type::BYTEA | Type::TEXT)
    }
}

impl Row for tokio_postgres::Row {
    fn value(&self, column: &'static str) -> Result<Value<'_>, StoreError> {
        self.try_get::<_, Column<'_>>(column).map(|column| column.0).map_err(|_| StoreError::Corrupt(column))
    }
}
