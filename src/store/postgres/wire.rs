//! A connection as the threads of the store use it: each call waits for its answer, and never longer than it may take.

use std::pin::pin;
use std::sync::Weak;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::future::poll_fn;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Error, Row, Statement};

use super::Server;
use crate::store::StoreError;

/// From the first packet to a connection that has answered; somebody who does not even refuse is given up after it.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// The server gives a statement up sooner; one that is still not answered then is on a connection that leads nowhere.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(35);

/// A connection to the server.
pub(super) struct Wire {
    runtime: Runtime,
    client: Client,
    /// How long an answer may take.
    pub(super) patience: Duration,
    /// Whether something was not answered, so that nobody knows what would come next.
    is_lost: bool,
}

impl Wire {
    /// Connects and sends `first`; whenever the server tells of changes, `told` is woken.
    pub(super) fn open(server: &Server, first: &str, told: Weak<Notify>) -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|_| StoreError::Unavailable)?;
        let opened = runtime.block_on(async {
            let opening = async {
                let (client, mut connection) = server.config.connect(server.tls.clone()).await?;
                // Whatever ends it is seen by whoever asks next.
                tokio::spawn(async move {
                    while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                        if let (AsyncMessage::Notification(_), Some(told)) = (message, told.upgrade()) {
                            told.notify_one();
                        }
                    }
                });
                client.batch_execute(first).await?;
                Ok::<_, Error>(client)
            };
            tokio::time::timeout(OPEN_WITHIN, opening).await
        });
        let client = opened.map_err(|_| StoreError::Mute)??;
        Ok(Self { runtime, client, patience: ANSWER_WITHIN, is_lost: false })
    }

    /// Whether it is of no use any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_lost || self.client.is_closed()
    }

    /// It is not to be used any more: what it was doing did not end as it must.
    pub(super) const fn lose(&mut self) {
        self.is_lost = true;
    }

    /// Runs statements without parameters.
    pub(super) fn batch(&mut self, statements: &str) -> Result<(), StoreError> {
        let answer = self.wait(self.client.batch_execute(statements));
        self.heard(answer)
    }

    pub(super) fn prepare(&mut self, statement: &str) -> Result<Statement, StoreError> {
        let answer = self.wait(self.client.prepare(statement));
        self.heard(answer)
    }

    /// How many rows it wrote.
    pub(super) fn execute(
        &mut self,
        statement: &Statement,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, StoreError> {
        let answer = self.wait(self.client.execute(statement, values));
        self.heard(answer)
    }

    /// Shows each row of an answer.
    pub(super) fn each(
        &mut self,
        statement: &Statement,
        values: &[&(dyn ToSql + Sync)],
        see: &mut dyn FnMut(&Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let asked = self.wait(self.client.query_raw(statement, values.iter().copied()));
        let mut rows = pin!(self.heard(asked)?);
        loop {
            let row = self.wait(rows.try_next());
            let Some(row) = self.heard(row)? else { return Ok(()) };
            see(&row)?;
        }
    }

    /// The one row of a question without parameters but these.
    pub(super) fn row(
        &mut self,
        question: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, StoreError> {
        let answer = self.wait(self.client.query_opt(question, values));
        self.heard(answer)
    }

    /// Waits for what the server has to tell, so long.
    pub(super) fn listen(&self, so_long: Duration) {
        // The clock is the runtime's: the sleep begins inside.
        self.runtime.block_on(async { tokio::time::sleep(so_long).await });
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, StoreError> {
        let answer = async { tokio::time::timeout(self.patience, answer).await };
        Ok(self.runtime.block_on(answer).map_err(|_| StoreError::Mute)??)
    }

    fn heard<T>(&mut self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.is_lost |= matches!(answer, Err(StoreError::Mute));
        answer
    }
}
