//! Batches of stored tokens, in the order of a deck.

use super::Deck;
use crate::DataError;
use crate::store::{Text, TokenStore};

/// Several records of a store, on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenBatch {
    /// Tokens, laid out as `[b, f, h, w]`.
    pub tokens: Vec<i32>,
    /// The text of each record, where it has one.
    pub texts: Vec<Option<Text>>,
    /// Which records they are.
    pub records: Vec<usize>,
}

/// Reads the batches of a training out of a store. Batch number `k` is the same whenever it is
/// asked for: samples `k * b .. (k + 1) * b` of the deck, over the borders of epochs.
#[derive(Debug)]
pub struct TokenBatches {
    store: TokenStore,
    deck: Deck,
    batch: usize,
}

impl TokenBatches {
    /// Batches of `batch` records.
    ///
    /// # Panics
    ///
    /// If `batch` is 0, or the deck has not as many items as the store has records.
    #[must_use]
    pub fn new(store: TokenStore, deck: Deck, batch: usize) -> Self {
        assert!(batch > 0, "batches of no records");
        assert_eq!(deck.len(), store.n_records(), "items of the deck");
        Self { store, deck, batch }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &TokenStore {
        &self.store
    }

    /// Batch number `number`, counted from the start of the training.
    ///
    /// # Errors
    ///
    /// [`DataError::DamagedRecord`] if a record has other bytes than were written.
    pub fn at(&mut self, number: u64) -> Result<TokenBatch, DataError> {
        let n = self.batch as u64;
        let mut batch = TokenBatch {
            tokens: Vec::with_capacity(self.batch * self.store.spec().n_tokens()),
            texts: Vec::with_capacity(self.batch),
            records: Vec::with_capacity(self.batch),
        };
        for position in number * n..(number + 1) * n {
            let record = self.deck.at(position);
            let sample = self.store.sample(record)?;
            batch
                .tokens
                .extend(sample.tokens.into_iter().map(i32::from));
            batch.texts.push(sample.text);
            batch.records.push(record);
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Prefetch;
    use crate::store::{StoreSpec, TextSpec, TokenWriter};
    use std::fs;
    use std::path::Path;

    /// Record `i` has the tokens `i * 4000 + 0..6`, every second picture has a text.
    fn fill(folder: &Path, text: Option<TextSpec>) {
        let spec = StoreSpec {
            fingerprint: "abc".to_owned(),
            tokens: [1, 2, 3],
            text,
            crops: 2,
        };
        let mut writer = TokenWriter::open(folder, &spec).unwrap();
        for key in 0..5 {
            let crops = [2 * key, 2 * key + 1].map(tokens);
            let crops = crops.each_ref().map(Vec::as_slice);
            let text = text.and_then(|spec| text_of(spec, key));
            writer
                .append(u64::from(key), &crops, text.as_ref())
                .unwrap();
        }
        writer.finish().unwrap();
    }

    fn tokens(record: u16) -> Vec<u16> {
        (0..6).map(|at| record * 6000 + at).collect()
    }

    fn text_of(spec: TextSpec, key: u16) -> Option<Text> {
        let text = match spec {
            TextSpec::Ids { length } => Text::Ids(vec![key; length]),
            TextSpec::States { .. } => Text::States(vec![f32::from(key) / 3.0; spec.n_numbers()]),
        };
        key.is_multiple_of(2).then_some(text)
    }

    fn batches(folder: &Path, batch: usize) -> TokenBatches {
        let store = TokenStore::open(folder, "abc").unwrap();
        let deck = Deck::new(store.n_records(), 8);
        TokenBatches::new(store, deck, batch)
    }

    #[test]
    fn a_batch_holds_the_records_of_its_samples() {
        let states = TextSpec::States {
            length: 3,
            width: 2,
        };
        for text in [None, Some(TextSpec::Ids { length: 4 }), Some(states)] {
            let folder = tempfile::tempdir().unwrap();
            fill(folder.path(), text);
            let mut batches = batches(folder.path(), 4);
            let mut deck = Deck::new(10, 8);
            // Ten records in batches of four: the third runs on into the second epoch.
            for number in [0, 1, 2, 7, 3] {
                let batch = batches.at(number).unwrap();
                let records: Vec<usize> = (4 * number..4 * number + 4)
                    .map(|position| deck.at(position))
                    .collect();
                assert_eq!(batch.records, records);
                let expected = records.iter().flat_map(|&record| tokens(record as u16));
                let expected: Vec<i32> = expected.map(i32::from).collect();
                assert_eq!(batch.tokens, expected);
                let texts: Vec<Option<Text>> = records
                    .iter()
                    .map(|&record| text.and_then(|spec| text_of(spec, record as u16 / 2)))
                    .collect();
                assert_eq!(batch.texts, texts);
            }
        }
    }

    #[test]
    fn batches_are_read_ahead_and_damage_ends_them() {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path(), None);
        let mut walk = batches(folder.path(), 3);
        let mut ahead = batches(folder.path(), 3);
        let read = Prefetch::new(2.., 2, move |number| ahead.at(number));
        for (number, batch) in (2..9).zip(read) {
            assert_eq!(batch.unwrap(), walk.at(number).unwrap());
        }
        drop(walk);
        let path = folder.path().join("tokens.bin");
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = batches(folder.path(), 10).at(0).unwrap_err();
        assert!(matches!(error, DataError::DamagedRecord { record: 0, .. }));
    }
}
