"""Pictures painted in the style of others (Gatys, Ecker & Bethge 2016): a picture is moved until a network finds in it
the content of one picture and the textures of others.

    network = squeezenet_features(file)
    goal = goal_of(network, content, [monet], content_layers={"fire5": 1}, style_layers={"relu1": 1, "fire3": 1})
    painting = paint(lambda picture: (total_of(parts := costs_of(network, goal, picture)), parts), content,
                     optimizer=optax.adam(0.02))

A picture is (height, width, 3), red-green-blue in [0, 1]. The gradient flows to the picture and to no weight.
"""

from jaxnn.style.colours import luminance, with_colours_of, with_luminance_like
from jaxnn.style.costs import Goal, content_cost, costs_of, goal_of, style_cost, total_of
from jaxnn.style.features import FeatureNetwork, features_of, random_features, squeezenet_features, vgg19_features
from jaxnn.style.noise import GridNoise, grid_noise
from jaxnn.style.painting import Painting, paint

__all__ = ["FeatureNetwork", "Goal", "GridNoise", "Painting", "content_cost", "costs_of", "features_of", "goal_of",
           "grid_noise", "luminance", "paint", "random_features", "squeezenet_features", "style_cost", "total_of",
           "vgg19_features", "with_colours_of", "with_luminance_like"]
