//! `aisle graph`: the dataflow graph as it is built, from timely's own log of its construction.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

use timely::logging::{TimelyEvent, TimelyEventBuilder};

use dataflows::build::{GraphPlan, Ports, build};

/// The graph as text: an operator a line, with those that it feeds. Arrangements there are none: state lives in folds.
pub fn draw(plan: &GraphPlan) -> String {
    let plan = plan.clone();
    timely::execute::execute_directly(move |worker| {
        let operators: Rc<RefCell<BTreeMap<Vec<usize>, String>>> = Rc::default();
        let channels: Rc<RefCell<Vec<(Vec<usize>, usize, usize)>>> = Rc::default();
        if let Some(mut registry) = worker.log_register() {
            let (operators, channels) = (Rc::clone(&operators), Rc::clone(&channels));
            registry.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
                for (_, event) in events.iter().flat_map(|events| events.iter()) {
                    match event {
                        TimelyEvent::Operates(operates) => {
                            operators.borrow_mut().insert(operates.addr.clone(), operates.name.clone());
                        }
                        TimelyEvent::Channels(channel) => {
                            channels.borrow_mut().push((
                                channel.scope_addr.clone(),
                                channel.source.0,
                                channel.target.0,
                            ));
                        }
                        _ => {}
                    }
                }
            });
        }
        let _graph = build(worker, &plan, Ports::closed());
        while worker.has_dataflows() {
            worker.step();
        }
        if let Some(mut registry) = worker.log_register() {
            registry.flush();
        }
        let (operators, channels) = (operators.borrow(), channels.borrow());
        text(&operators, &channels)
    })
}

fn text(operators: &BTreeMap<Vec<usize>, String>, channels: &[(Vec<usize>, usize, usize)]) -> String {
    let name = |scope: &[usize], place: usize| {
        let address: Vec<usize> = scope.iter().copied().chain([place]).collect();
        operators.get(&address).map_or("?", String::as_str)
    };
    let mut drawn = String::new();
    for (address, operator) in operators {
        let Some((place, scope)) = address.split_last() else { continue };
        let mut feeds: Vec<&str> = channels
            .iter()
            .filter(|(of, source, _)| of == scope && source == place)
            .map(|(of, _, target)| name(of, *target))
            .collect();
        feeds.sort_unstable();
        feeds.dedup();
        let indent = "  ".repeat(address.len().saturating_sub(1));
        let arrow = if feeds.is_empty() { String::new() } else { format!(" -> {}", feeds.join(", ")) };
        // Writing to a string can't fail.
        let _ = writeln!(drawn, "{indent}{place} {operator}{arrow}");
    }
    drawn
}
