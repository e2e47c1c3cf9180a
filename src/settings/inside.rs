//! Sections inside sections, and the end of the reading.

use super::nearest::nearest;
use super::print::shown;
use super::section::Section;
use super::tree::{At, Pair, Value};

const A_MAPPING: &str = "a mapping (key: value lines)";

impl Section<'_> {
    /// A mapping inside, read by `read`. An absent one is read as an empty one, so that its defaults are known;
    /// ask [`Section::has`] first where absence means something else.
    pub fn child<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Option<T> {
        let mut inside = self.open(key)?;
        let value = read(&mut inside);
        let known = inside.finish();
        self.record(key, Value::Map(known));
        value
    }

    fn open(&mut self, key: &str) -> Option<Section<'_>> {
        let (at, pairs) = match self.find(key) {
            None => (self.at, [].as_slice()),
            Some(pair) => match &pair.node.value {
                Value::Map(pairs) => (pair.at, pairs.as_slice()),
                Value::Null => (pair.at, [].as_slice()),
                _ => {
                    self.mismatch(key, A_MAPPING);
                    self.record(key, Value::Null);
                    return None;
                }
            },
        };
        Some(self.inside(self.path_of(key), at, pairs, key))
    }

    /// A section at `path` whose keys are declared as `like.key`.
    fn inside<'b>(&'b mut self, path: String, at: At, pairs: &'b [Pair], like: &str) -> Section<'b> {
        let mut keys = Vec::new();
        for key in &self.keys {
            let name = key.name.strip_prefix(like).and_then(|name| name.strip_prefix('.'));
            keys.extend(name.map(|name| super::keys::Key { name, ..*key }));
        }
        let required = self.required;
        Section { path, at, pairs, report: self.report, required, keys, known: Vec::new() }
    }

    /// A list of mappings, each read by `read`; `None` if it is absent. The keys of the mappings are declared as
    /// those of `like`, which may be `key` itself. An item for which `read` returns `None` is left out (it has
    /// reported why).
    pub fn each<T>(
        &mut self,
        key: &str,
        like: &str,
        mut read: impl FnMut(&mut Section<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut read_ones = Vec::new();
        let there = self.items(key, like, &mut |item| read_ones.extend(read(item)));
        there.then_some(read_ones)
    }

    /// [`Section::each`], once for all that is read. Returns whether the list is there.
    fn items(&mut self, key: &str, like: &str, read: &mut dyn FnMut(&mut Section<'_>)) -> bool {
        let Some(Value::List(items)) = self.value(key) else {
            self.mismatch(key, "a list of mappings (- key: value lines)");
            self.record(key, Value::Null);
            return false;
        };
        let mut known = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", self.path_of(key));
            let at = if item.at == At::default() { self.at } else { item.at };
            let Value::Map(pairs) = &item.value else {
                let why = format!("{} is not allowed: {A_MAPPING}", shown(&item.value));
                self.report.problem(at, &path, &why);
                continue;
            };
            let mut inside = self.inside(path, at, pairs, like);
            read(&mut inside);
            known.push(Value::Map(inside.finish()).into());
        }
        self.record(key, Value::List(known));
        true
    }

    /// Ends the reading without a word about keys that are not known: for a section of unknown kind. What is declared
    /// is judged all the same.
    pub fn abandon(&mut self) {
        self.judge_the_rest();
        self.pairs = &[];
    }

    /// What is there and was not asked for, because something else was wrong with the section or spoke against it, is
    /// judged all the same: a wrong value must not wait until the first problem is mended.
    fn judge_the_rest(&mut self) {
        for declared in self.keys.clone() {
            let Some(given) = self.value(declared.name) else { continue };
            let fits = match given {
                _ if self.known.iter().any(|known| known.key == declared.name) => continue,
                Value::Map(_) if declared.kind == b'm' => continue,
                Value::List(_) if declared.kind == b'i' => continue,
                given => declared.take(given),
            };
            if matches!(fits, Value::Null) {
                self.mismatch(declared.name, &declared.wanted());
            }
        }
    }

    /// Ends the reading: every key that is neither declared nor was asked for is a problem, and so is a value that its key
    /// does not allow. Returns every key that was asked for with its effective value, in the order of asking.
    pub fn finish(mut self) -> Vec<Pair> {
        self.judge_the_rest();
        let declared = self.keys.iter().map(|key| key.name).filter(|name| !name.contains('.'));
        let mut names: Vec<&str> = declared.collect();
        for known in &self.known {
            if !names.contains(&known.key.as_str()) {
                names.push(&known.key);
            }
        }
        for pair in self.pairs.iter().filter(|pair| !names.contains(&pair.key.as_str())) {
            let hint = match nearest(&pair.key, names.iter().copied()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("known here: {}", names.join(", ")),
            };
            self.report.problem(pair.at, &self.path_of(&pair.key), &format!("is not a known key; {hint}"));
        }
        self.known
    }
}
