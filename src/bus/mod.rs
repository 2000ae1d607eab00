//! Layer 3: the bus between instances, over the pub/sub channels of a Redis server. It carries bytes. It may lose, delay and repeat
//! them, and nothing depends on it.

mod address;

pub(crate) use address::BusAddress;
use redis::Connection;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::time::Duration;

/// Why the bus failed.
#[derive(Debug)]
pub(crate) struct BusError(String);

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<redis::RedisError> for BusError {
    fn from(error: redis::RedisError) -> BusError {
        BusError(error.to_string())
    }
}

/// A connection that publishes.
pub(crate) struct Publisher(Connection);

impl Publisher {
    /// Opens it.
    ///
    /// # Errors
    /// Fails if the server does not accept it in time.
    pub(crate) fn open(address: &BusAddress) -> Result<Publisher, BusError> {
        address.connect().map(Publisher)
    }

    /// Publishes payloads, each on its channel, in order.
    ///
    /// # Errors
    /// Fails if the server does not reply in time. Some may then be published.
    pub(crate) fn publish(&mut self, payloads: &[(String, Vec<u8>)]) -> Result<(), BusError> {
        let mut pipe = redis::pipe();
        for (channel, payload) in payloads {
            pipe.cmd("PUBLISH").arg(channel).arg(payload).ignore();
        }
        Ok(pipe.exec(&mut self.0)?)
    }
}

/// Subscribes to channels, and calls `receive` with each payload, and with `None` after each `pause` without one, until it breaks.
///
/// # Errors
/// Fails if the connection is lost.
pub(crate) fn subscribe(
    address: &BusAddress,
    channels: &[String],
    pause: Duration,
    mut receive: impl FnMut(Option<&[u8]>) -> ControlFlow<()>,
) -> Result<(), BusError> {
    let mut connection = address.connect()?;
    // Its end would wait for replies to `UNSUBSCRIBE`: for good if messages come, and nothing that is sent arrives.
    let mut subscription = ManuallyDrop::new(connection.as_pubsub());
    for channel in channels {
        subscription.subscribe(channel)?;
    }
    subscription.set_read_timeout(Some(pause))?;
    loop {
        let received = match subscription.get_message() {
            Ok(message) => receive(Some(message.get_payload_bytes())),
            Err(error) if error.is_timeout() => receive(None),
            Err(error) => return Err(error.into()),
        };
        if received.is_break() {
            return Ok(());
        }
    }
}
