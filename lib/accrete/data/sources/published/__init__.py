"""Sets that everybody has: scikit-learn's digits, torchvision's CIFAR and Fashion-MNIST."""
