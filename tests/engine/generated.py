"""generator placeholder"""
