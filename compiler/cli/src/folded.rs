//! Names that differ in their numbers alone, told in one line: a model has thirty layers of one kind.

use indexmap::IndexMap;

/// Things that are alike but for the numbers in their names.
pub struct Folded<T> {
    /// The name of the first, with `*` for each number in which others differ.
    pub name: String,
    /// All of them, in their order; at least one.
    pub things: Vec<T>,
}

impl<T> Folded<T> {
    pub fn first(&self) -> &T {
        &self.things[0]
    }

    /// `30 times` before what is there more than once.
    pub fn times(&self) -> String {
        if self.things.len() > 1 { format!("{} times ", self.things.len()) } else { String::new() }
    }
}

/// Folds things of equal `rest` whose names differ in numbers alone, in the order of the first of each.
pub fn fold<T, R: std::hash::Hash + Eq>(
    things: impl IntoIterator<Item = T>,
    name: impl Fn(&T) -> &str,
    rest: impl Fn(&T) -> R,
) -> Vec<Folded<T>> {
    let mut all: IndexMap<(Vec<String>, usize, R), Folded<T>> = IndexMap::new();
    for thing in things {
        let (words, numbers) = parts(name(&thing));
        match all.entry((words, numbers.len(), rest(&thing))) {
            indexmap::map::Entry::Occupied(mut entry) => {
                let folded = entry.get_mut();
                folded.name = joined(&folded.name, &numbers);
                folded.things.push(thing);
            }
            indexmap::map::Entry::Vacant(entry) => {
                entry.insert(Folded { name: name(&thing).into(), things: vec![thing] });
            }
        }
    }
    all.into_values().collect()
}

/// A name without its numbers, and the numbers; a `*` counts as one.
fn parts(name: &str) -> (Vec<String>, Vec<String>) {
    let (mut words, mut numbers) = (vec![String::new()], vec![]);
    let mut in_number = false;
    for c in name.chars() {
        let is_number = c.is_ascii_digit() || c == '*';
        match (is_number, in_number) {
            (true, true) => numbers.last_mut().into_iter().for_each(|n: &mut String| n.push(c)),
            (true, false) => numbers.push(c.to_string()),
            (false, true) => words.push(c.to_string()),
            (false, false) => words.last_mut().into_iter().for_each(|w| w.push(c)),
        }
        in_number = is_number;
    }
    (words, numbers)
}

/// The name `so_far` with `*` where `numbers` has another.
fn joined(so_far: &str, numbers: &[String]) -> String {
    let (words, before) = parts(so_far);
    let mut name = words[0].clone();
    for (i, number) in before.iter().enumerate() {
        name += if *number == numbers[i] { number } else { "*" };
        name += words.get(i + 1).map_or("", |w| w);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn what_differs_in_numbers_is_one() {
        let names =
            ["past.0.key", "past.0.value", "past.1.key", "past.1.value", "past.12.key", "mask", "x2", "x"];
        let folded = fold(names, |n| n, |_| ());
        let told: Vec<_> = folded.iter().map(|f| (f.name.as_str(), f.things.len())).collect();
        assert_eq!(told, [("past.*.key", 3), ("past.*.value", 2), ("mask", 1), ("x2", 1), ("x", 1)]);
    }

    #[test]
    fn a_number_that_is_the_same_stays() {
        let folded = fold(["h2.0.fc1", "h2.1.fc1"], |n| n, |_| ());
        assert_eq!(folded[0].name, "h2.*.fc1");
    }

    #[test]
    fn what_differs_otherwise_is_not_folded() {
        assert_eq!(fold(["a0", "a1"], |n| n, |n| n.len()).len(), 1);
        assert_eq!(fold(["a0", "a1"], |n| n, |n| n.ends_with('0')).len(), 2);
        assert_eq!(fold(["a0b", "a1c", "0", "10"], |n| n, |_| ()).len(), 3);
    }
}
