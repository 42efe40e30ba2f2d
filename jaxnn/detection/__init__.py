"""Detection: boxes, how much they overlap, the YOLO head and its loss, suppression, average precision, and networks
from Darknet's files.

    boxes               to_centre to_corners exchanged upright areas pad_boxes; EMPTY IGNORED
    masks               mask_boxes
    overlap             iou generalized_iou distance_iou complete_iou, ops; pairwise
    focal               focal_loss, an op
    suppression         best_classes filter_scores non_max_suppression soft_non_max_suppression
    anchors             cluster_anchors size_iou
    yolo_head           YoloHead decode assign; yolo_boxes, an op
    yolo_loss           yolo_loss yolo_parts pulls YoloWeights
    average_precision   precision_recall average_precision mean_average_precision
    darknet             read_configuration parse_configuration darknet_network read_darknet_weights fold_darknet
    yolo_v2             yolo_v2_configuration, the course's network
"""

from jaxnn.detection.anchors import Anchors, cluster_anchors, size_iou
from jaxnn.detection.average_precision import (
    COCO_THRESHOLDS,
    Curve,
    Detections,
    Truth,
    average_precision,
    mean_average_precision,
    precision_recall,
)
from jaxnn.detection.boxes import EMPTY, IGNORED, areas, exchanged, pad_boxes, to_centre, to_corners, upright
from jaxnn.detection.darknet import DarknetNetwork, darknet_network, fold_darknet
from jaxnn.detection.darknet_file import BadConfiguration, Section, parse_configuration, read_configuration
from jaxnn.detection.darknet_weights import read_darknet_weights
from jaxnn.detection.focal import focal_loss
from jaxnn.detection.masks import mask_boxes
from jaxnn.detection.overlap import complete_iou, distance_iou, generalized_iou, iou, pairwise
from jaxnn.detection.suppression import (
    Kept,
    best_classes,
    filter_scores,
    non_max_suppression,
    soft_non_max_suppression,
)
from jaxnn.detection.yolo_head import Decoded, Targets, YoloHead, assign, decode, yolo_boxes
from jaxnn.detection.yolo_loss import Parts, Pulls, YoloWeights, pulls, yolo_loss, yolo_parts
from jaxnn.detection.yolo_v2 import COURSE_ANCHORS, yolo_v2_configuration
