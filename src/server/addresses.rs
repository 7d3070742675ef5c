//! How many connections each client has open, over all threads. A place is taken when a connection begins and given
//! back when it has ended: no request looks here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client::Client;

/// The connections of all clients: as many clients as there are connections, and no more.
#[derive(Debug)]
pub struct Addresses {
    most: u32,
    open: Mutex<HashMap<Client, u32>>,
}

/// One connection of a client's, until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    addresses: Arc<Addresses>,
    client: Client,
}

impl Addresses {
    /// So many for each client, which is an address, in IPv6 a /64.
    pub fn new(most: u32) -> Self {
        Self { most, open: Mutex::default() }
    }

    /// One more, unless the client has all it may have.
    pub(super) fn take(self: &Arc<Self>, client: Client) -> Option<Held> {
        let mut open = self.open();
        let count = open.entry(client).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Held { addresses: self.clone(), client })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Client, u32>> {
        // Nothing that can panic is done under it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut open = self.addresses.open();
        if let Entry::Occupied(mut count) = open.entry(self.client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_and_gets_them_back() {
        let addresses = Arc::new(Addresses::new(2));
        let take = |address: &str| addresses.take(Client::of(address.parse().unwrap()));
        let (first, second) = (take("192.0.2.1").unwrap(), take("::ffff:192.0.2.1").unwrap());
        assert!(take("192.0.2.1").is_none());
        let other = take("192.0.2.2").unwrap();
        drop(first);
        let third = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none());
        drop((second, third, other));
        assert!(addresses.open().is_empty(), "nobody is remembered");

        let _held = (take("2001:db8::1").unwrap(), take("2001:db8::ffff:1").unwrap());
        assert!(take("2001:db8::2").is_none(), "one /64 is one client");
        assert!(take("2001:db8:0:1::1").is_some());
    }
}
