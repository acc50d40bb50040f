import ArgumentParser
print("being built")
