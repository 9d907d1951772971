//! Schedules: which steps of a route are rendered together, and when their caches expire.

use super::Route;

/// Steps that are rendered as one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// Positions in the route. None is in the context of another; all are known or none is.
    pub steps: Vec<usize>,
    /// Positions whose caches no later wave selects.
    pub expires: Vec<usize>,
}

/// An execution order of a route that respects every context.
///
/// Random numbers are keyed by place, never by time (page §4), so every schedule of a route gives
/// the same picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    waves: Vec<Wave>,
    peak_pool: usize,
}

impl Schedule {
    /// Gives the schedule of Algorithm 2: one step after the other.
    pub fn serial(route: &Route) -> Self {
        Self::from_groups(
            route,
            (0..route.steps().len())
                .map(|position| vec![position])
                .collect(),
        )
    }

    /// Gives the schedule by levels, at most `max_batch` steps at once: fewer waves, larger pool.
    ///
    /// # Panics
    /// When `max_batch` is 0.
    pub fn levels(route: &Route, max_batch: usize) -> Self {
        assert!(max_batch > 0, "a wave holds at least one step");
        let steps = route.steps();
        let mut order: Vec<usize> = (0..steps.len()).collect();
        let key = |&position: &usize| (steps[position].level, !steps[position].known, position);
        order.sort_unstable_by_key(key);
        let groups = order
            .chunk_by(|a, b| {
                steps[*a].level == steps[*b].level && steps[*a].known == steps[*b].known
            })
            .flat_map(|level| level.chunks(max_batch).map(<[usize]>::to_vec))
            .collect();
        Self::from_groups(route, groups)
    }

    fn from_groups(route: &Route, groups: Vec<Vec<usize>>) -> Self {
        let mut last_use: Vec<usize> = vec![0; route.steps().len()];
        for (wave, steps) in groups.iter().enumerate() {
            for &position in steps {
                last_use[position] = last_use[position].max(wave);
                for entry in &route.steps()[position].context {
                    last_use[entry.position] = last_use[entry.position].max(wave);
                }
            }
        }
        let mut waves: Vec<Wave> = groups
            .into_iter()
            .map(|steps| Wave {
                steps,
                expires: Vec::new(),
            })
            .collect();
        for (position, &wave) in last_use.iter().enumerate() {
            waves[wave].expires.push(position);
        }
        let (mut held, mut peak_pool) = (0, 0);
        for wave in &waves {
            held += wave.steps.len();
            peak_pool = peak_pool.max(held);
            held -= wave.expires.len();
        }
        Self { waves, peak_pool }
    }

    /// Gives the waves in the order they are rendered.
    pub fn waves(&self) -> &[Wave] {
        &self.waves
    }

    /// Gives the most caches the pool holds, counted after Add and before Remove.
    pub fn peak_pool(&self) -> usize {
        self.peak_pool
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::patch::{Extent, GridSize, Order, PatchRect};

    fn circle() -> Route {
        let known = PatchRect {
            top: 2,
            left: 1,
            height: 2,
            width: 2,
        };
        let grid = GridSize { f: 2, h: 6, w: 5 };
        Route::outpainting(grid, Extent { w: 1, h: 2, f: 1 }, known, Order::RightDown)
            .expect("inside")
    }

    #[test]
    fn serial_is_the_route_itself() {
        let route = circle();
        let schedule = Schedule::serial(&route);
        for (position, (wave, step)) in schedule.waves().iter().zip(route.steps()).enumerate() {
            assert_eq!(wave.steps, [position]);
            assert_eq!(wave.expires, step.expires);
        }
        assert_eq!(schedule.peak_pool(), route.peak_pool());
    }

    #[test]
    fn waves_respect_contexts_and_drop_caches_exactly_when_unused() {
        let route = circle();
        for max_batch in [1, 2, 3, usize::MAX] {
            let schedule = Schedule::levels(&route, max_batch);
            let mut held: HashSet<usize> = HashSet::new();
            let mut rendered = HashSet::new();
            for (number, wave) in schedule.waves().iter().enumerate() {
                assert!(wave.steps.len() <= max_batch);
                for &position in &wave.steps {
                    let step = &route.steps()[position];
                    assert_eq!(step.known, route.steps()[wave.steps[0]].known);
                    assert!(step.context.iter().all(|e| held.contains(&e.position)));
                    assert!(rendered.insert(position));
                }
                held.extend(&wave.steps);
                for gone in &wave.expires {
                    assert!(held.remove(gone));
                    let later = &schedule.waves()[number + 1..];
                    let unused = |p: &usize| {
                        route.steps()[*p]
                            .context
                            .iter()
                            .all(|e| e.position != *gone)
                    };
                    assert!(later.iter().flat_map(|w| &w.steps).all(unused));
                }
            }
            assert_eq!(rendered.len(), route.steps().len());
            assert!(held.is_empty());
        }
        let known_levels: HashSet<_> = route.steps().iter().map(|s| (s.level, s.known)).collect();
        assert_eq!(
            Schedule::levels(&route, usize::MAX).waves().len(),
            known_levels.len()
        );
    }

    #[test]
    fn the_papers_circle_to_32_by_32_has_116_levels() {
        let grid = GridSize { f: 1, h: 32, w: 32 };
        let known = PatchRect {
            top: 14,
            left: 14,
            height: 4,
            width: 4,
        };
        let extent = Extent { w: 2, h: 2, f: 0 };
        let route = Route::outpainting(grid, extent, known, Order::DownRight).expect("inside");
        assert_eq!(route.steps().iter().filter(|s| !s.known).count(), 1008);
        let first = route
            .steps()
            .iter()
            .filter(|s| !s.known)
            .map(|s| s.level)
            .min();
        let new_levels: HashSet<_> = route
            .steps()
            .iter()
            .filter(|s| !s.known)
            .map(|s| s.level)
            .collect();
        assert_eq!(
            new_levels.len(),
            116,
            "from {first:?} of {}",
            route.n_levels()
        );
    }
}
