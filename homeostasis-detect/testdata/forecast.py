"""Reference values for the forecasts, beside this script as forecast.json.

Run it with `pip install statsmodels && python3 forecast.py > forecast.json`.
All series are generated here; the reference is statsmodels: its exponential smoothing with given weights and first
states (forecasts), its state-space form of the same (variances), its own fits (how small the errors can be made), its
ARIMA with given coefficients (forecasts and variances) and fitted with the orders of the smallest corrected Akaike
criterion (variance of the errors), and its KPSS statistic.
"""

import json
import math
import random
import warnings

import numpy as np
import pandas as pd
import statsmodels
from statsmodels.tsa.arima.model import ARIMA
from statsmodels.tsa.exponential_smoothing.ets import ETSModel
from statsmodels.tsa.holtwinters import ExponentialSmoothing
from statsmodels.tsa.stattools import kpss

warnings.simplefilter("ignore")
AHEAD = 30
PERIOD = 12


def series(name):
    rng = random.Random(name)
    values, walk, noise = [], 0.0, 0.0
    for t in range(240):
        walk += rng.gauss(0, 1)
        noise = 0.7 * noise + rng.gauss(0, 1)
        wave = math.sin(2 * math.pi * t / PERIOD)
        values.append({
            "level": 50 + 0.3 * walk + rng.gauss(0, 1),
            "trend": 20 + 0.4 * t + 0.5 * walk + rng.gauss(0, 1),
            "wave": 100 + 0.2 * t + 15 * wave + rng.gauss(0, 2),
            "product": (60 + 0.3 * t) * (1 + 0.3 * wave) * math.exp(rng.gauss(0, 0.03)),
            "persistent": 10 + 2 * noise,
            "walk": walk,
        }[name])
    return values


def smoothing():
    for name, growth, season, (a, b, g, phi) in [
        ("level", "none", "none", (0.3, 0.0, 0.0, 1.0)),
        ("trend", "linear", "none", (0.4, 0.1, 0.0, 1.0)),
        ("trend", "damped", "none", (0.5, 0.2, 0.0, 0.9)),
        ("wave", "none", "additive", (0.2, 0.0, 0.3, 1.0)),
        ("wave", "linear", "additive", (0.2, 0.05, 0.1, 1.0)),
        ("wave", "damped", "additive", (0.3, 0.1, 0.2, 0.95)),
        ("product", "none", "multiplicative", (0.3, 0.0, 0.2, 1.0)),
        ("product", "damped", "multiplicative", (0.3, 0.1, 0.2, 0.95)),
    ]:
        y = series(name)
        level, slope = y[0], 0.1 if growth != "none" else 0.0
        if season == "none":
            first = []
        else:
            mean = sum(y[:PERIOD]) / PERIOD
            first = [x - mean if season == "additive" else x / mean for x in y[:PERIOD]]
            level = mean
        options = {
            "trend": None if growth == "none" else "add",
            "damped_trend": growth == "damped",
            "seasonal": {"none": None, "additive": "add", "multiplicative": "mul"}[season],
            "seasonal_periods": PERIOD if first else None,
        }
        known = {"initial_level": level}
        given = {"smoothing_level": a}
        if growth != "none":
            known["initial_trend"] = slope
            given["smoothing_trend"] = b
        if growth == "damped":
            given["damping_trend"] = phi
        if first:
            known["initial_seasonal"] = first
            given["smoothing_seasonal"] = g
        model = ExponentialSmoothing(y, initialization_method="known", **options, **known)
        result = model.fit(optimized=False, **given)
        # A quirk of its forecasts: those of whole periods ahead miss the last change of the season. They are left out,
        # or taken from the state-space form where there is one.
        forecast = [float(x) if not first or (i + 1) % PERIOD else None for i, x in enumerate(result.forecast(AHEAD))]
        variances = []
        if season != "multiplicative":
            ets = ETSModel(
                pd.Series(y, index=pd.RangeIndex(len(y))), error="add", trend=options["trend"],
                damped_trend=options["damped_trend"], seasonal=options["seasonal"],
                seasonal_periods=options["seasonal_periods"], initialization_method="known", initial_level=level,
                **({"initial_trend": slope} if growth != "none" else {}),
                **({"initial_seasonal": first} if first else {}),
            )
            # The state-space form has the weight of the slope times that of the level.
            params = [a]
            params += [a * b] if growth != "none" else []
            params += [g] if first else []
            params += [phi] if growth == "damped" else []
            smoothed = ets.smooth(params)
            for i, other in enumerate(smoothed.forecast(AHEAD)):
                assert forecast[i] is None or abs(forecast[i] - other) < 1e-9 * abs(other), (name, i)
                forecast[i] = float(other)
            exact = smoothed.get_prediction(start=len(y), end=len(y) + AHEAD - 1, method="exact")
            variances = [float(v) for v in np.asarray(exact.forecast_variance) / smoothed.scale]
        fitted = ExponentialSmoothing(y, initialization_method="heuristic", **options).fit()
        yield {
            "series": name, "growth": growth, "season": season, "period": PERIOD if first else 0,
            "weights": [a, b, g, phi], "first_level": level, "first_slope": slope, "first_season": first,
            "forecast": forecast, "variances": variances,
            "fitted_squared_errors": float(fitted.sse),
        }


def arima():
    for name, ar, d, ma in [
        ("persistent", [0.6, 0.1], 0, []),
        ("persistent", [0.5], 0, [0.3]),
        ("walk", [0.4], 1, [-0.2]),
        ("trend", [], 1, [-0.5]),
    ]:
        y = series(name)
        mean = sum(y) / len(y) if d == 0 else 0.0
        model = ARIMA(y, order=(len(ar), d, len(ma)), trend="c" if d == 0 else "n")
        result = model.smooth(([mean] if d == 0 else []) + ar + ma + [2.0])
        ahead = result.get_forecast(AHEAD)
        yield {
            "series": name, "ar": ar, "d": d, "ma": ma, "mean": mean, "variance": 2.0,
            "forecast": [float(x) for x in ahead.predicted_mean], "variances": [float(x) for x in ahead.var_pred_mean],
        }


def best_arima(name, d):
    y = series(name)
    best = None
    for p in range(4):
        for q in range(3):
            result = ARIMA(y, order=(p, d, q), trend="c" if d == 0 else "n").fit()
            if best is None or result.aicc < best.aicc:
                best = result
    order = best.model.order
    return {"series": name, "orders": list(order), "variance": float(best.params[-1])}


def main():
    names = ["level", "trend", "wave", "product", "persistent", "walk"]
    everything = {
        "statsmodels": statsmodels.__version__,
        "series": {name: series(name) for name in names},
        "smoothing": list(smoothing()),
        "arima": list(arima()),
        "fitted_arima": [best_arima("persistent", 0), best_arima("walk", 1)],
        "kpss": {
            name: float(kpss(series(name), regression="c", nlags=int(12 * (240 / 100) ** 0.25))[0]) for name in names
        },
    }
    print(json.dumps(everything, indent=1))


main()
