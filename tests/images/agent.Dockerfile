# What a coding agent's image looks like, small: Debian, a user, an environment, a working directory.
# debian: passwd
FROM scratch
ADD rootfs.tar /
RUN useradd --create-home --uid 1000 --shell /bin/bash node && echo from-the-image >/home/node/file && chown node:node /home/node/file
ENV LITERAL=from-the-image GREETING="hello world"
USER node
WORKDIR /home/node
CMD ["sh", "-c", "echo default command of $(whoami)"]
