//! A sample over topics whose records before its checkpoint are gone: nothing but the checkpoint leads on.

use std::fs;

use crate::broker::Broker;
use crate::place::{refuses, succeeds, told};
use crate::sample::Sample;

const PORT: u16 = 19_862;

#[test]
fn a_run_whose_input_before_the_checkpoint_is_gone_goes_on_from_it() {
    let two = Sample::copy("two");
    let broker = Broker::of_data(PORT, &two.path("broker"));
    let text = fs::read_to_string(two.path("aisle.toml")).unwrap();
    assert!(text.contains(&broker.bootstrap), "the sample names the broker of this test");
    let resumed = two.aisle(&["run", "aisle.toml", "--once"]);
    succeeds(&resumed);
    assert!(told(&resumed).contains("restored as of tick 29, 8 ticks are replayed"), "{}", told(&resumed));
    assert!(told(&resumed).contains("holds for every partition"), "{}", told(&resumed));
    two.has_begun_as_expected();
    // The beginning is gone indeed.
    let anew = Sample::copy("two");
    refuses(&anew.aisle(&["run", "aisle.toml", "--once", "--replay-all"]), 1, &["but offset 0 was to be read next"]);
    broker.stop();
}
