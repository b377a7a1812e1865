//! A small dense network with its training: rectifiers between layers, none after the last, Adam.

use homeostasis_core::Rng;
use serde::{Deserialize, Serialize};

const LANES: usize = 8;

/// Dense layers in single precision, one after another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    layers: Vec<Layer>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    /// A row of weights for each input.
    weights: Vec<f32>,
    biases: Vec<f32>,
}

impl Layer {
    fn n_inputs(&self) -> usize {
        self.weights.len() / self.biases.len().max(1)
    }

    fn forward(&self, inputs: &[f32], outputs: &mut Vec<f32>) {
        outputs.clone_from(&self.biases);
        for (input, weights) in inputs
            .iter()
            .zip(self.weights.chunks_exact(self.biases.len()))
        {
            if *input != 0.0 {
                add_scaled(outputs, weights, *input);
            }
        }
    }
}

fn add_scaled(sums: &mut [f32], values: &[f32], by: f32) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += by * value;
    }
}

/// The product in lanes, so that the order of additions is the same on every machine and they run abreast.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_left), (b, b_left)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let left: f32 = a_left.iter().zip(b_left).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + left
}

impl Network {
    /// Layers of these sizes, inputs first, with weights drawn as He et al. (2015) advise for rectifiers.
    pub(super) fn new(sizes: &[usize], rng: &mut Rng) -> Self {
        let layer = |pair: &[usize]| {
            let (n_inputs, n_outputs) = (pair[0], pair[1]);
            let width = (6.0 / n_inputs as f64).sqrt();
            #[expect(clippy::cast_possible_truncation, reason = "a random weight, rounded")]
            let mut weight = || ((2.0 * rng.unit() - 1.0) * width) as f32;
            Layer {
                weights: (0..n_inputs * n_outputs).map(|_| weight()).collect(),
                biases: vec![0.0; n_outputs],
            }
        };
        Self {
            layers: sizes.windows(2).map(layer).collect(),
        }
    }

    /// Whether it has these sizes.
    pub(super) fn has(&self, sizes: &[usize]) -> bool {
        let mut pairs = sizes.windows(2);
        self.layers.len() + 1 == sizes.len()
            && self.layers.iter().all(|layer| {
                pairs.next().is_some_and(|pair| {
                    layer.biases.len() == pair[1] && layer.weights.len() == pair[0] * pair[1]
                })
            })
    }

    /// What comes out of every layer.
    pub(super) fn forward(&self, inputs: &[f32], outputs: &mut Vec<Vec<f32>>) {
        outputs.resize(self.layers.len(), Vec::new());
        for (at, layer) in self.layers.iter().enumerate() {
            let (before, here) = outputs.split_at_mut(at);
            let here = &mut here[0];
            layer.forward(before.last().map_or(inputs, Vec::as_slice), here);
            if at + 1 < self.layers.len() {
                for output in here {
                    *output = output.max(0.0);
                }
            }
        }
    }

    /// Adds to `gradient` what the inputs say of the derivative of `Σ errors²`, given the last outputs.
    fn backward(&self, inputs: &[f32], outputs: &[Vec<f32>], errors: &[f32], gradient: &mut Self) {
        let mut slopes: Vec<f32> = errors.iter().map(|error| 2.0 * error).collect();
        for (at, (layer, gradient)) in self
            .layers
            .iter()
            .zip(&mut gradient.layers)
            .enumerate()
            .rev()
        {
            let inputs = at.checked_sub(1).map_or(inputs, |before| &outputs[before]);
            let n_outputs = layer.biases.len();
            add_scaled(&mut gradient.biases, &slopes, 1.0);
            let mut before = vec![0.0; layer.n_inputs()];
            let weights = layer.weights.chunks_exact(n_outputs);
            let gradients = gradient.weights.chunks_exact_mut(n_outputs);
            for (((input, weights), gradients), slope) in
                inputs.iter().zip(weights).zip(gradients).zip(&mut before)
            {
                // A rectifier that is shut passes nothing back.
                if *input != 0.0 {
                    add_scaled(gradients, &slopes, *input);
                    *slope = dot(weights, &slopes);
                }
            }
            slopes = before;
        }
    }

    fn parameters(&mut self) -> impl Iterator<Item = &mut f32> {
        let layers = self.layers.iter_mut();
        layers.flat_map(|layer| layer.weights.iter_mut().chain(&mut layer.biases))
    }
}

/// A network while it learns to give back its inputs.
///
/// Source: D. P. Kingma, J. Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, algorithm 1 with its
/// default decay rates.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Adam {
    pub(super) network: Network,
    gradient: Network,
    first: Vec<f32>,
    second: Vec<f32>,
    n_steps: i32,
    rate: f32,
}

impl Adam {
    pub(super) fn new(mut network: Network, rate: f32) -> Self {
        let n_parameters = network.parameters().count();
        let mut gradient = network.clone();
        gradient.parameters().for_each(|value| *value = 0.0);
        Self {
            network,
            gradient,
            first: vec![0.0; n_parameters],
            second: vec![0.0; n_parameters],
            n_steps: 0,
            rate,
        }
    }

    /// One step on the mean error of these inputs.
    pub(super) fn step<'a>(&mut self, batch: impl ExactSizeIterator<Item = &'a [f32]>) {
        const KEEP_FIRST: f32 = 0.9;
        const KEEP_SECOND: f32 = 0.999;
        self.gradient.parameters().for_each(|value| *value = 0.0);
        let share = 1.0 / f32::from(u16::try_from(batch.len()).unwrap_or(u16::MAX));
        let mut outputs = Vec::new();
        for inputs in batch {
            self.network.forward(inputs, &mut outputs);
            let given = outputs.last().map_or(&[][..], Vec::as_slice);
            let errors: Vec<f32> = given
                .iter()
                .zip(inputs)
                .map(|(given, wanted)| given - wanted)
                .collect();
            self.network
                .backward(inputs, &outputs, &errors, &mut self.gradient);
        }
        self.n_steps = self.n_steps.saturating_add(1);
        let rate = self.rate * (1.0 - KEEP_SECOND.powi(self.n_steps)).sqrt()
            / (1.0 - KEEP_FIRST.powi(self.n_steps));
        let moments = self.first.iter_mut().zip(&mut self.second);
        let parameters = self.network.parameters().zip(self.gradient.parameters());
        for ((parameter, slope), (first, second)) in parameters.zip(moments) {
            let slope = *slope * share;
            *first += (1.0 - KEEP_FIRST) * (slope - *first);
            *second += (1.0 - KEEP_SECOND) * (slope * slope - *second);
            *parameter -= rate * *first / (second.sqrt() + 1e-8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(network: &Network, inputs: &[f32]) -> f64 {
        let mut outputs = Vec::new();
        network.forward(inputs, &mut outputs);
        let given = outputs.last().unwrap().iter().zip(inputs);
        given
            .map(|(given, wanted)| f64::from(given - wanted).powi(2))
            .sum()
    }

    #[test]
    fn gradients_agree_with_differences() {
        let mut network = Network::new(&[3, 9, 2, 3], &mut Rng::from_seed(4));
        let inputs = [0.3, -0.8, 1.1];
        let mut gradient = Adam::new(network.clone(), 0.0).gradient;
        let mut outputs = Vec::new();
        network.forward(&inputs, &mut outputs);
        let errors: Vec<f32> = outputs[2].iter().zip(&inputs).map(|(a, b)| a - b).collect();
        network.backward(&inputs, &outputs, &errors, &mut gradient);
        let slopes: Vec<f32> = gradient.parameters().map(|slope| *slope).collect();
        let mut n_checked = 0;
        for (at, slope) in slopes.iter().enumerate() {
            let mut moved = |by: f32| {
                *network.parameters().nth(at).unwrap() += by;
                let error = error(&network, &inputs);
                *network.parameters().nth(at).unwrap() -= by;
                error
            };
            let difference = (moved(1e-3) - moved(-1e-3)) / 2e-3;
            assert!(
                (difference - f64::from(*slope)).abs() < 2e-2,
                "{at}: {difference}, {slope}"
            );
            n_checked += usize::from(slope.abs() > 0.1);
        }
        assert!(n_checked > 5, "the check saw slopes");
    }

    #[test]
    fn it_learns_to_give_back_what_lies_on_a_line() {
        let network = Network::new(&[4, 8, 1, 8, 4], &mut Rng::from_seed(5));
        let rows: Vec<Vec<f32>> = (0..64_u8)
            .map(|at| {
                let along = f32::from(at) / 32.0 - 1.0;
                vec![along, -along, 0.5 * along, along]
            })
            .collect();
        let mean =
            |network: &Network| rows.iter().map(|row| error(network, row)).sum::<f64>() / 64.0;
        let before = mean(&network);
        let mut adam = Adam::new(network, 1e-2);
        for _ in 0..400 {
            adam.step(rows.iter().map(Vec::as_slice));
        }
        assert!(
            mean(&adam.network) < 0.02 * before,
            "{} from {before}",
            mean(&adam.network)
        );
        assert!(adam.network.has(&[4, 8, 1, 8, 4]) && !adam.network.has(&[4, 8, 2, 8, 4]));
    }
}
