//! A small sorted map: what a contribution keeps by workflow, provider and kind of error.
//!
//! Most hold one to three entries and live for a moment, by the ten thousand; a sorted vector takes as much memory as
//! it has entries, where a tree takes room for a whole node.

/// Entries by ascending key, each key once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries<K, V>(Vec<(K, V)>);

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> Entries<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// The entries, by ascending key.
    pub fn iter(&self) -> std::slice::Iter<'_, (K, V)> {
        self.0.iter()
    }

    /// The number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps the entries that a test holds for.
    pub fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        self.0.retain(|(_, value)| keep(value));
    }

    /// Changes the value of a key, which starts as the default, and removes the entry if that leaves the default.
    pub fn update(&mut self, key: &K, change: impl FnOnce(&mut V))
    where
        K: Clone,
        V: Default + PartialEq,
    {
        match self.find(key) {
            Ok(at) => {
                change(&mut self.0[at].1);
                if self.0[at].1 == V::default() {
                    self.0.remove(at);
                }
            }
            Err(at) => {
                let mut value = V::default();
                change(&mut value);
                if value != V::default() {
                    self.0.insert(at, (key.clone(), value));
                }
            }
        }
    }

    fn find(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(candidate, _)| candidate.cmp(key))
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Entries<K, V> {
    /// Of entries with the same key, the last stays.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut collected = Self::default();
        entries.into_iter().for_each(|(key, value)| collected.insert(key, value));
        collected
    }
}

impl<K, V> IntoIterator for Entries<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, K, V> IntoIterator for &'a Entries<K, V> {
    type Item = &'a (K, V);
    type IntoIter = std::slice::Iter<'a, (K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
