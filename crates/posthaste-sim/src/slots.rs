//! A place for each thing that is under way, used again when it is over. A key outlives its thing and
//! then finds nothing, so that an event may come too late.

/// Names a thing, once and for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    place: u32,
    life: u32,
}

/// Things under way.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Takes a thing in.
    pub(crate) fn put(&mut self, thing: T) -> Key {
        if let Some(place) = self.free.pop() {
            let (life, held) = &mut self.places[place as usize];
            *held = Some(thing);
            return Key { place, life: *life };
        }
        let place = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push((0, Some(thing)));
        Key { place, life: 0 }
    }

    /// The thing, while it is here.
    pub(crate) fn get(&mut self, key: Key) -> Option<&mut T> {
        let (life, held) = &mut self.places[key.place as usize];
        (*life == key.life).then_some(held.as_mut()).flatten()
    }

    /// Gives the thing out, and its place away.
    pub(crate) fn take(&mut self, key: Key) -> Option<T> {
        let (life, held) = &mut self.places[key.place as usize];
        if *life != key.life {
            return None;
        }
        let thing = held.take()?;
        *life = life.wrapping_add(1);
        self.free.push(key.place);
        Some(thing)
    }

    /// How many are here.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_nothing_after_its_thing_is_gone() {
        let mut slots = Slots::new();
        let first = slots.put('a');
        assert_eq!(slots.take(first), Some('a'));
        let second = slots.put('b');
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.take(first), None);
        assert_eq!(slots.get(second), Some(&mut 'b'));
        assert_eq!(slots.len(), 1);
    }
}
