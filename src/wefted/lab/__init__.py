"""The lab: virtual hosts on one machine, made of namespaces. Start with `wefted.lab.lab.Lab`."""
