//! How fast the queue q goes, in scripts.

use posthaste_core::machine::Machine;
use posthaste_core::time::MonoMs;

use super::Story;

impl Story {
    /// The figures of the queue q, those that are known.
    pub(super) fn pace(&self) -> String {
        let queues = self.machine.queues(self.moment.mono);
        let queue = queues.iter().find(|queue| queue.name.as_str() == "q");
        let Some(pace) = queue.and_then(|queue| queue.pace) else {
            return "not measured".to_owned();
        };
        let mut told = vec![format!(
            "{:.2} arrive, {:.2} settled",
            pace.arrivals_per_second, pace.settled_per_second
        )];
        told.extend(pace.arrival_cv2.map(|cv2| format!("dispersion {cv2:.2}")));
        let ms = pace.service_mean.map(|mean| mean.as_secs_f64() * 1e3);
        told.extend(ms.map(|ms| format!("{ms:.0} ms")));
        told.extend(pace.service_cv2.map(|cv2| format!("cv2 {cv2:.2}")));
        told.push(format!("most {}", pace.running_most));
        told.join(", ")
    }

    /// Another process takes over from the facts.
    pub(super) fn reopen(&mut self) -> String {
        self.machine = Machine::new();
        for fact in &self.facts {
            self.machine.evolve(fact, self.moment.mono);
        }
        format!("{} jobs", self.machine.jobs_held())
    }
}

/// What is read again is not measured: it happened at another time.
pub(super) fn unmeasured(machine: &Machine) {
    for queue in machine.queues(MonoMs(1_000_000)) {
        assert_eq!(queue.pace, None, "{} was read again", queue.name);
    }
}
