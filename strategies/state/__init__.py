"""What the server keeps: parts, each with its client side, its files, its digest and its bytes."""
