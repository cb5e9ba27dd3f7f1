use timely::dataflow::operators::{Concatenate, Inspect, Probe};

use super::*;
use crate::fold::Table;
use crate::testing::{dealt, run};

/// A fold of words by one of their letters, or by each of them.
struct Letters(&'static str, fn(&str) -> Vec<char>);

impl Fold for Letters {
    type Input = (Tick, String);
    type Key = char;
    type Event = String;
    type State = u64;
    type Value = u64;
    type Table = Table<char, u64>;

    fn name(&self) -> &'static str {
        self.0
    }

    fn keys(&self, (_, word): &(Tick, String), post: &mut dyn FnMut(char, String)) {
        (self.1)(word).into_iter().for_each(|letter| post(letter, word.clone()));
    }

    fn apply(&self, words: &mut u64, _: &char, _: &String) {
        *words += 1;
    }

    fn values(&self, _: &char, words: &u64, values: &mut Vec<u64>) {
        values.push(*words);
    }
}

const WORDS: [(Tick, &str); 4] = [(0, "ab"), (0, ""), (3, "ca"), (1, "b")];

fn words() -> Vec<(Tick, String)> {
    WORDS.iter().map(|(tick, word)| (*tick, (*word).to_owned())).collect()
}

fn first(word: &str) -> Vec<char> {
    word.chars().next().into_iter().collect()
}

fn all(word: &str) -> Vec<char> {
    word.chars().collect()
}

fn none(_: &str) -> Vec<char> {
    Vec::new()
}

type Posted = (&'static str, Tick, char, String);

fn posted(name: &'static str, of: fn(&str) -> Vec<char>) -> Vec<Posted> {
    let mut posted: Vec<Posted> = words()
        .iter()
        .flat_map(|(tick, word)| of(word).into_iter().map(|key| (name, *tick, key, word.clone())))
        .collect();
    posted.sort();
    posted
}

#[test]
fn each_record_is_posted_to_each_of_its_keys_at_the_tick_of_its_message() {
    let mut seen = run(2, 1, |scope, notebook| {
        let words = dealt(scope, &words(), |(tick, _)| *tick);
        let postings = route(words, "Route", Rc::new(Letters("all", all)), PlaceKey::WRITTEN);
        let noted = postings.inspect_time(move |time, posting| {
            assert_eq!(*time, posting.tick());
            notebook.note(("all", posting.tick(), *posting.key(), posting.event().clone()));
        });
        noted.probe().0
    });
    seen.sort();
    assert_eq!(seen, posted("all", all));
}

#[test]
fn three_folds_are_posted_to_as_each_of_them_says() {
    let mut seen = run(2, 1, |scope, notebook: crate::testing::Notebook<Posted>| {
        let words = dealt(scope, &words(), |(tick, _)| *tick);
        let folds = [Letters("first", first), Letters("none", none), Letters("all", all)].map(Rc::new);
        let [of_first, of_none, of_all] = folds;
        let (to_first, to_none, to_all) =
            route_to_three(words, "Route", (of_first, of_none, of_all), PlaceKey::WRITTEN);
        let note = |name: &'static str| {
            let notebook = notebook.clone();
            move |posting: &Posting<char, String>| {
                notebook.note((name, posting.tick(), *posting.key(), posting.event().clone()));
            }
        };
        let (to_first, to_none, to_all) =
            (to_first.inspect(note("first")), to_none.inspect(note("none")), to_all.inspect(note("all")));
        scope.concatenate([to_first, to_none, to_all]).probe().0
    });
    seen.sort();
    assert_eq!(seen, [posted("all", all), posted("first", first)].concat());
}

#[test]
fn a_stamped_record_is_one_insertion_at_its_tick() {
    let mut seen = run(2, 1, |scope, notebook| {
        let words = dealt(scope, &words(), |(tick, _)| *tick);
        let changes = stamp(words, "Stamp", |(_, word)| (!word.is_empty()).then_some(word));
        changes.inspect_time(move |time, change| notebook.note((*time, change.clone()))).probe().0
    });
    seen.sort();
    let change = |tick, word: &str| (tick, (word.to_owned(), tick, 1));
    assert_eq!(seen, [change(0, "ab"), change(1, "b"), change(3, "ca")]);
}
