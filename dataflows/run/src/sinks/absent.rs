//! The Kafka sinks of a build without Kafka: none. A configuration that asks for one is refused.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use operators::sink::SinkError;
use operators::time::Tick;

use super::engine::CompleteTick;
use super::job::RunError;
use dataflows::configuration::{Delivery, Plan};

/// None.
pub struct KafkaSinks;

impl KafkaSinks {
    /// Opens none.
    pub fn open(_: &[Delivery], _: &Plan, _: &Path, _: &Path) -> Result<Self, RunError> {
        Ok(KafkaSinks)
    }

    /// None knows of a tick.
    pub fn resumed(&self) -> Tick {
        0
    }

    /// None needs any.
    pub fn needed_from(&self) -> Option<Tick> {
        None
    }

    /// None waits.
    pub fn stop_with(&mut self, _: Arc<AtomicBool>) {}

    /// None takes it.
    pub fn write(&mut self, _: &mut CompleteTick) -> Result<(), SinkError> {
        Ok(())
    }

    /// Nothing was taken.
    pub fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// For those who watch them.
    pub fn watch(&self) -> SinksWatch {
        SinksWatch(None)
    }
}

/// How far the sinks are.
#[derive(Clone, Debug)]
pub struct SinksWatch(Option<Infallible>);

impl SinksWatch {
    /// Nothing is left to be sent.
    pub fn is_drained(&self) -> bool {
        self.0.is_none()
    }

    /// Nothing failed.
    pub fn failure(&self) -> Option<RunError> {
        None
    }
}
