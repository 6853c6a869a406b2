"""What all pages share: one HTML file that asks the network for nothing, its style and scripts, and charts."""
