"""Use trained networks: predict pictures, explain predictions, look at feature maps."""
