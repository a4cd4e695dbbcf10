"""Write trained networks in formats that open without cifarzoo, and check what the files compute."""
