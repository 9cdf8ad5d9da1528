"""Computing on shares: nobody sees the inputs, everybody may learn what the program opens."""
